"""The pictures of the documentation, and what their captions say of them."""

import json
import shutil
from pathlib import Path

import pytest
from docs_pages import PAGES, ROOT, links
from PIL import Image
from test_scripts import script


@pytest.fixture
def pictures():
    return script("make_pictures")


def test_pictures_show_what_their_captions_say(pictures):
    folder = ROOT / "docs/pictures"
    told = json.loads((folder / "pictures.json").read_text())
    caption = " ".join((ROOT / "README.md").read_text().split())
    drawn = told["overlay"]
    assert f"{drawn['dice_at_operating_point']}" in caption
    assert "PolypGen" in caption and "CC BY 4.0" in caption
    assert told["speed"]["ms"] == pictures.table_rows((ROOT / "docs/speed.md").read_text())
    used = {Path(target).name for page in PAGES for target in links(page) if "pictures/" in target}
    files = [file for file in folder.iterdir() if file.suffix != ".json"]
    assert {file.name for file in files} == used
    for file in files:
        assert file.stat().st_size < 1_000_000
    with Image.open(folder / "overlay.webp") as film:
        assert film.n_frames == drawn["frames"] > 10


def test_what_a_picture_lacks_is_said(pictures, tmp_path, caplog):
    arguments = ["report", "--run", str(tmp_path), "--output", str(tmp_path / "out")]
    with caplog.at_level("WARNING"), pytest.raises(SystemExit) as stopped:
        pictures.main(arguments)
    assert stopped.value.code == 1
    assert [m.split(": ")[1] for m in caplog.messages] == ["report"]
    assert f"no {tmp_path / 'report.html'}" in caplog.messages[0]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["pictures.json"]


@pytest.mark.slow
def test_the_shipped_clip_is_animated(pictures, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        pictures.main(["overlay", "--output", str(tmp_path)])
    assert stopped.value.code == 0
    told = json.loads((tmp_path / "pictures.json").read_text())["overlay"]
    shown = json.loads((ROOT / "docs/pictures/pictures.json").read_text())["overlay"]
    dice = shown.pop("dice_at_operating_point")
    assert told.pop("dice_at_operating_point") == pytest.approx(dice, abs=0.02)
    assert told == shown
    with Image.open(tmp_path / "overlay.webp") as film:
        assert film.n_frames == told["frames"]


@pytest.mark.slow
def test_a_part_of_a_report_is_pictured(pictures, tmp_path, monkeypatch):
    pytest.importorskip("playwright", reason="playwright is not installed")
    page = "<body style='margin:0'><div style='height:999px;background:red'></div>"
    page += "<div id='scores' style='height:999px;background:blue'></div>"
    (tmp_path / "report.html").write_text(page)
    given = ["report", "--run", str(tmp_path), "--output", str(tmp_path)]
    monkeypatch.setattr(pictures, "REPORT_HEIGHT", 300)
    monkeypatch.setattr(pictures, "REPORT_PART", "scores")
    with pytest.raises(SystemExit) as stopped:
        pictures.main(given)
    if not any(map(shutil.which, pictures.BROWSERS)):
        pytest.skip("no browser is installed")
    assert stopped.value.code == 0
    with Image.open(tmp_path / "report.png") as shown:
        assert shown.size == (1200, 300)
        assert shown.convert("RGB").getcolors() == [(1200 * 300, (0, 0, 255))]
