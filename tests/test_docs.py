"""README.md and docs/: every command, link and option that they name is there.

Commands are composed or parsed by what would take them (`docs_commands`); those of the README's
tour are also run, on small clips. `test_docs_code` runs the code of extend.md and python.md.
"""

import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import docs_commands
import pytest
from docs_commands import LATER
from docs_pages import (
    PAGES,
    ROOT,
    Command,
    anchors,
    blocks,
    codes,
    commands,
    files,
    links,
    logical_lines,
    section,
    written_files,
)

from sali.config import config_dir, groups, known_keys

CONFIGS = Path(config_dir())
BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [command for block in BLOCKS if block.language == "bash" for command in commands(block)]
TOUR = [
    command
    for block in blocks(ROOT / "README.md")
    if block.language == "bash" and block.text in section(ROOT / "README.md", "Five-minute tour")
    for command in commands(block)
]
WARNING = "Research software"
FOLDERS = ("sali", "benchmarks", "configs", "scripts", "tests", "docs")
FILES = (".csv", ".html", ".json", ".md", ".tex")
WITHOUT_COMMANDS = {"glossary.md", "python.md"}
SHOWN = {path for page in PAGES for path in files(page)}
"""Files of a package and a folder of options that the pages show in full."""


def ids(values):
    return [str(value) for value in values]


def test_nothing_escapes():
    """All blocks are of a known language, and each line of bash is a command or sets a variable."""
    assert {block.language for block in BLOCKS} == {"bash", "python", "text", "yaml"}
    for page in PAGES:
        assert page.read_text().count("```") == 2 * len(blocks(page)), page
    bash = [block for block in BLOCKS if block.language == "bash"]
    lines = [line for block in bash for line in logical_lines(block.text)]
    assignments = [line for line in lines if re.match(r"\w+=", line)]
    assert len(COMMANDS) == len(lines) - len(assignments)
    assert {page.name for page in PAGES} - WITHOUT_COMMANDS == {c.page for c in COMMANDS}


@pytest.fixture
def files_of_pages(tmp_path, monkeypatch):
    """Make the files that the pages show, in the folder that commands are then given in."""
    monkeypatch.chdir(tmp_path)
    with written_files(PAGES, tmp_path):
        yield


@pytest.mark.parametrize("command", COMMANDS, ids=ids(COMMANDS))
def test_commands_are_taken(command, files_of_pages):
    kind = docs_commands.check(command)
    assert kind in ("composed", "parsed", "make", "pip", "shell", "later")
    if kind == "shell":
        assert command.page == "README.md"


@pytest.mark.parametrize(
    "words",
    [
        "python -m sali.train experiment=seen_esay",
        "python -m sali.train +memory.max_frame=3",
        "python -m sali.train memory.max_frame=3",
        "python -m sali.train seed=1,2",
        "python -m sali.train -m ablation=full,memory_36",
        "python -m sali.train --nonsense",
        "python -m sali.predict ckpt=a source=b",
        "python -m sali.evaluate gt=a pred=b output=c protocol=bth",
        "python -m sali.nothing",
        "python scripts/compare_runs.py onlyone",
        "python scripts/wandb_dashboard.py --entity T --nonsense",
        "torchrun --nnodes 2 sali.train",
        "make nothing",
        "make data-check ARGS='root=a cuonts=null'",
        "pip install -e '.[nothing]'",
        "rm -rf outputs",
    ],
)
def test_commands_that_do_not_fit_are_found(words):
    import shlex

    with pytest.raises((Exception, SystemExit, pytest.fail.Exception)) as caught:
        docs_commands.check(Command("test", tuple(shlex.split(words))))
    assert not isinstance(caught.value, pytest.skip.Exception)


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "python"], ids=lambda b: b.page
)
def test_python_compiles(block):
    compile(block.text, block.page, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in links(page):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_every_page_can_be_reached():
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= set(links(ROOT / "README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_options_in_the_text_exist(page):
    """`key`, `key=value`, `group=option` and paths; values are checked where they are options."""
    known, all_groups = set().union(*(known_keys(f.stem) for f in CONFIGS.glob("*.yaml"))), groups()
    sections = {key.split(".")[0] for key in known}
    found = Counter()
    for code in codes(page):
        if re.match(rf"({'|'.join(FOLDERS)})/[\w./]+$", code):
            assert (ROOT / code).exists(), f"{page.name}: {code}"
            found["path"] += 1
        if re.match(r"(python -m sali\.|make )\S+$", code):
            words = tuple(code.split())
            module = importlib.util.find_spec(words[-1]) if words[0] == "python" else None
            assert module or words[-1] in LATER or docs_commands.check_make(words[1:]), code
            found["command"] += 1
        for word in () if "(" in code else code.split():
            key, equals, value = word.partition("=")
            if not re.fullmatch(r"[a-z_]+([./][a-z_]+)*", key):
                continue
            if equals and key in all_groups:
                there = {file.stem for file in (CONFIGS / key).glob("*.yaml")}
                there |= {Path(f).stem for f in SHOWN if f.startswith(f"options/{key}/")}
                assert set(re.findall(r"\w+", value)) <= there, f"{page.name}: {word}"
                found["option"] += 1
            elif equals or (key.split(".")[0] in sections and not key.endswith(FILES)):
                if key.startswith("hydra.") or key in LATER or not (equals or "." in key):
                    continue
                assert key in known, f"{page.name}: {word}"
                found["key"] += 1
    assert found or page.name == "README.md"


def test_the_table_of_groups_is_whole():
    rows = re.findall(
        r"^\| `([\w/]+)` \| (.+) \|$", section(ROOT / "docs/configs.md", "Groups"), re.M
    )
    told = {name: set(re.findall(r"`(\w+)`", text)) for name, text in rows}
    there = {name: {f.stem for f in (CONFIGS / name).glob("*.yaml")} for name in groups()}
    assert "experiment" in told
    for name in told.keys() | there.keys() - {"hydra"}:
        # A group of one option is no choice.
        assert told.get(name) == there[name] or (name not in told and len(there[name]) == 1), name


def test_warnings_come_first():
    pages = ("README.md", "docs/predict.md", "docs/python.md", "docs/app.md", "docs/limits.md")
    for page in pages:
        assert WARNING in "".join((ROOT / page).read_text().splitlines(True)[:12]), page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_lines_can_be_read(page):
    for line in page.read_text().splitlines():
        assert len(line) <= 120 or line.startswith(("|", "![")), f"{page.name}: {line}"


SMALL = {
    "sali.train": [
        "data.spec.train_clips=4", "data.spec.test_clips_per_subset=1",
        "data.spec.frames_per_clip=5", "data.spec.height=96", "data.spec.width=120",
        "data.spec.polyp_free_clips=0", "data.batch_size=2", "data.num_workers=0",
        "trainer.limit_train_batches=1",
    ],
    "sali.predict": ["num_workers=0"],
    "sali.evaluate": ["num_workers=1"],
}  # fmt: skip
NOT_RUN = {
    "python3.11": "makes an environment",
    ".": "enters it",
    "pip": "installs",
    "make": "makes an environment",
    "sali.demo": "serves until it is stopped",
}


def program(command: Command) -> str:
    return command.words[2] if command.words[:2] == ("python", "-m") else command.words[0]


@pytest.mark.slow
def test_the_tour_runs(tmp_path):
    """In order, in an empty folder, each command as written with small settings behind it."""
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    ran = Counter()
    for command in TOUR:
        if program(command) in NOT_RUN:
            ran["not run"] += 1
            continue
        done = subprocess.run(
            [sys.executable, *command.words[1:], *SMALL.get(program(command), [])],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        ran[program(command)] += 1
    assert ran == {
        "not run": 2, "sali.train": 1, "python": 1, "sali.predict": 1, "sali.evaluate": 1
    }  # fmt: skip
    for name in (
        "metrics.json",
        "checkpoints/last.ckpt",
        "video/clip/000004.png",
        "video_overlays/clip.mp4",
        "video_tables/clip.csv",
        "scores/table.md",
    ):
        assert (tmp_path / "outputs/tour" / name).is_file(), name
        if name.startswith(("video_overlays", "scores")):
            assert f"outputs/tour/{name}" in section(ROOT / "README.md", "Five-minute tour")
