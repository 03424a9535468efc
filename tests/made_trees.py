"""Small trees of masks and maps, and calls of the evaluation on them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from sali.evaluation import Settings, run_evaluation
from sali.report.folder import RunFolder
from sali.report.scores import write_tables

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden/metrics"
SUBSET = "TestEasyDataset/Unseen"
SHAPE = (24, 32)


def disk(row: float, column: float, radius: float) -> np.ndarray:
    """Probability x 255 of a soft disk, uint8 [24, 32]."""
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(rows - row, columns - column)
    return (255 / (1 + np.exp(distance - radius))).round().astype(np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def make_clips(root, lengths=(5, 4), *, shift=0.0, polyp=True, first=1):
    """Clip folders of masks, or with a shift of maps that miss them by so many pixels."""
    for number, length in enumerate(lengths, start=first):
        for frame in range(length):
            image = disk(11 + 0.3 * frame + shift, 12 + number + frame, 6)
            if not shift:
                image = ((image > 127) * 255 * polyp).astype(np.uint8)
            save(root / f"case{number}_1" / f"image{frame + 8}.png", image)
    return root


def score(gt, pred, output, **settings):
    """Evaluate in one process, so that tests may look into it, and write the tables."""
    done = run_evaluation(gt, pred, output, Settings(**{"num_workers": 1, **settings}))
    write_tables(RunFolder(output))
    return done.metrics


def run_evaluate(*overrides, cwd=ROOT, more_path=""):
    return subprocess.run(
        [sys.executable, "-m", "sali.evaluate", *map(str, overrides)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{more_path}"},
    )


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    """All files of an evaluation that must not depend on how it was run."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "run.json"):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                found[name] = {key: arrays[key].tobytes() for key in arrays}
        else:
            found[name] = path.read_bytes()
    return found


def golden():
    return json.loads((GOLDEN / "expected.json").read_text())
