"""The wheel, built from the sdist: what is inside, and that it works away from the checkout."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the unpacked wheel, as pip would make it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--no-isolation", "-o", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def distribution(site):
    (info,) = site.glob("*.dist-info")
    return PathDistribution(info)


def test_every_file_of_the_package_is_inside(site):
    def content(folder):
        return {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    configs = {f"configs/{name}" for name in content(ROOT / "configs")}
    assert content(site / "sali") == content(ROOT / "sali") | configs
    assert [p.name for p in site.iterdir() if not p.name.endswith(".dist-info")] == ["sali"]


def test_licences_of_code_weights_and_data_are_inside(distribution):
    assert distribution.metadata["License-Expression"] == "MIT AND CC-BY-4.0"
    named = distribution.metadata.get_all("License-File")
    assert {"LICENSE", "sali/sample/README.md", "sali/weights/polypgen_lite0.md"} <= set(named)


def test_description_leads_nowhere_but_the_web(distribution):
    text = distribution.metadata.get_payload()
    assert "Research software" in text
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_scripts_are_commands(distribution):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    found = {point.name: point.load() for point in distribution.entry_points}
    assert found.keys() == declared.keys()
    assert all(callable(main) for main in found.values())


def test_wheel_composes_its_own_configs(site, tmp_path):
    code = "import sali; print(sali.__file__); from sali.train import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "experiment=released", "--cfg", "job", "--resolve"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stdout
    assert "fusion: released" in done.stdout
