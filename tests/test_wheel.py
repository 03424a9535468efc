"""The wheel carries the configs and works away from the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_wheel_composes_its_own_configs(tmp_path):
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "-o",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    shipped = {p.relative_to(ROOT / "configs") for p in (ROOT / "configs").rglob("*.yaml")}
    assert {p.relative_to(site / "sali/configs") for p in site.rglob("*.yaml")} == shipped

    assert [p.name for p in site.iterdir() if not p.name.endswith(".dist-info")] == ["sali"]

    templates = "sali/report/templates"
    assert sorted(p.name for p in (site / templates).iterdir()) == sorted(
        p.name for p in (ROOT / templates).iterdir()
    )

    away = tmp_path / "away"
    away.mkdir()
    code = "import sali; print(sali.__file__); from sali.train import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "experiment=released", "--cfg", "job", "--resolve"],
        cwd=away,
        env={"PYTHONPATH": str(site), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stdout
    assert "fusion: released" in done.stdout
