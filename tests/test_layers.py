"""Imports go downwards only, and what must stay free of frameworks does."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sali"

# Top to bottom; a file may import from its own layer and from those below.
LAYERS = [
    {
        *("train", "training", "predict", "evaluate", "demo"),
        "fit_operating_point",
        *("check", "report.__main__", "export.__main__"),
        *("import_coco", "import_cvc_clinicdb", "import_folder", "import_polypgen"),
    },
    {"sweeps", "app", "archive"},
    {"predictor"},
    {"build"},
    {"callbacks"},
    {"task", "schedules"},
    {"prediction"},
    {"report"},
    {"evaluation"},
    {"cli", "config"},
    {"export"},
    {"runtime"},
    {"streaming"},
    {"data"},
    {"run"},
    {"models"},
    {"losses", "metrics"},
    {"ops"},
    {"ranges"},
    {"errors"},
]
PLAIN = {"models", "ops", "losses", "metrics"}
ENTRY_POINTS = LAYERS[0]
# Commands that live beside what they serve; they are on top all the same.
COMMANDS = {
    "data/check.py": "check",
    "data/import_coco.py": "import_coco",
    "data/import_cvc_clinicdb.py": "import_cvc_clinicdb",
    "data/import_folder.py": "import_folder",
    "data/import_polypgen.py": "import_polypgen",
    "report/__main__.py": "report.__main__",
    "export/__main__.py": "export.__main__",
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    relative = path.relative_to(PACKAGE)
    own = COMMANDS.get(relative.as_posix(), relative.parts[0].removesuffix(".py"))
    if own == "__init__":
        assert not [m for m in imported(path) if m.startswith("sali")]
        return
    (height,) = [i for i, layer in enumerate(LAYERS) if own in layer]
    below = set().union(*LAYERS[height:], {""})
    for module in imported(path):
        if module == "sali" or module.startswith("sali."):
            assert part(module) in below, f"{own} imports {module}"
        assert module.split(".")[0] not in ("benchmarks", "tests"), f"{own} imports {module}"
        if own in PLAIN:
            assert module.split(".")[0] not in ("lightning", "hydra", "omegaconf"), module
        if own not in ENTRY_POINTS | {"archive", "predictor", "build", "cli", "config", "sweeps"}:
            assert module.split(".")[0] not in ("hydra", "omegaconf"), module
