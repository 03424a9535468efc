"""The kinds of commands: their inputs, their arguments, and what of their results must be equal."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from miniature import assert_same_end, overrides
from PIL import Image
from safetensors.torch import load_file
from video_files import write_video

from sali.data.index import index_subset
from sali.data.synthetic import SyntheticSpec, draw_clip, generate

SUBSET = "TestEasyDataset/Seen"
STEPS = 4
_SIZE = {"height": 96, "width": 120}
_SHORT = (
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=2",
    "data.num_workers=1",
    "limit_test_clips=1",
)


def make_inputs(folder: Path) -> None:
    """Draw `data`, a set in the SUN-SEG layout, its `maps`, and `video.mkv`."""
    spec = SyntheticSpec(
        train_clips=4,
        test_clips_per_subset=3,
        frames_per_clip=8,
        polyp_free_clips=0,
        seed=4,
        **_SIZE,
    )
    root = generate(folder / "data", spec)
    for clip in index_subset(root, "seen_easy"):
        (folder / "maps" / clip.name).mkdir(parents=True)
        for mask in clip.masks:
            soft = cv2.GaussianBlur(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE), (31, 31), 0)
            cv2.imwrite(str(folder / "maps" / clip.name / f"{mask.stem}.png"), soft)
    write_video(folder / "video.mkv", [one for one, _ in draw_clip(1, 2, 3, 24, **_SIZE)])


@dataclass(frozen=True)
class Kind:
    """A kind of command.

    Attributes:
        module: Module of the command.
        arguments: Makes its arguments of the folder of the inputs and that of the results.
        compare: Raises AssertionError if the results in two folders differ.
        needs: Packages without which it cannot run.
    """

    module: str
    arguments: Callable[[Path, Path], list[str]]
    compare: Callable[[Path, Path], Any]
    needs: tuple[str, ...] = ()


def _train(inputs: Path, output: Path) -> list[str]:
    plain = [one for one in overrides(inputs / "data", output) if "paths.output_dir" not in one]
    plain = [one for one in plain if not one.startswith("data.num_workers")]
    return [*plain, *_SHORT, "ckpt_path=auto", f"hydra.run.dir={output}"]


def _sweep(inputs: Path, output: Path) -> list[str]:
    own = [one for one in _train(inputs, output) if not one.startswith("hydra.")]
    return ["-m", *own, "optimizer.lr=0.0001,0.0002", "seed=1", f"hydra.sweep.dir={output}"]


def _folder(inputs: Path, output: Path) -> list[str]:
    return [f"source={inputs / 'data' / SUBSET / 'Frame'}", f"output={output}", "num_workers=1"]


def _video(inputs: Path, output: Path) -> list[str]:
    return [
        f"source={inputs / 'video.mkv'}",
        f"output={output}",
        "num_workers=1",
        "video.save_every=4",
        "overlay=true",
    ]


def _evaluate(inputs: Path, output: Path) -> list[str]:
    return [
        f"gt={inputs / 'data' / SUBSET}",
        f"pred={inputs / 'maps'}",
        f"output={output}",
        "protocol=both",
        "num_workers=1",
    ]


def _export(inputs: Path, output: Path) -> list[str]:
    return [f"output={output}"]


# --- what must be equal ---


def _same_json(whole: Path, other: Path) -> None:
    assert json.loads(whole.read_text()) == json.loads(other.read_text()), f"{other.name} differs"


def _same_trainings(whole: Path, other: Path) -> None:
    assert_same_end(whole, other, STEPS)
    _same_json(whole / "metrics.json", other / "metrics.json")
    _same_json(whole / "status.json", other / "status.json")


def _same_sweeps(whole: Path, other: Path) -> None:
    for job in (path.parent for path in whole.glob("*/metrics.json")):
        _same_trainings(job, other / job.name)
    _same_files(whole, other, ["sweep.csv"])


def _same_files(whole: Path, other: Path, names: Sequence[str]) -> None:
    for name in names:
        assert (whole / name).read_bytes() == (other / name).read_bytes(), f"{name} differs"


def _same_maps(whole: Path, other: Path) -> None:
    names, others = ({p.relative_to(one) for p in seen(one, ".png")} for one in (whole, other))
    assert names == others, f"{len(others)} maps, wanted {len(names)}"
    for name in names:
        one, two = (np.asarray(Image.open(folder / name)) for folder in (whole, other))
        assert np.array_equal(one, two), f"map {name} differs"
    films, made = (sorted(one.parent.glob(f"{one.name}_overlays/*")) for one in (whole, other))
    assert [_length(film) for film in films] == [_length(film) for film in made], "overlays"


def _same_scores(whole: Path, other: Path) -> None:
    _same_json(whole / "metrics.json", other / "metrics.json")
    _same_files(whole, other, ["frames.csv", "clips.csv"])
    names, others = ({p.relative_to(one) for p in seen(one)} for one in (whole, other))
    assert names == others, f"files {sorted(map(str, names ^ others))} in one of both only"


def _same_bundles(whole: Path, other: Path) -> None:
    _same_json(whole / "bundle.json", other / "bundle.json")


KINDS = {
    "train": Kind("sali.train", _train, _same_trainings),
    "predict": Kind("sali.predict", _folder, _same_maps),
    "video": Kind("sali.predict", _video, _same_maps),
    "evaluate": Kind("sali.evaluate", _evaluate, _same_scores),
    "sweep": Kind("sali.train", _sweep, _same_sweeps),
    "export": Kind("sali.export", _export, _same_bundles, ("onnxscript", "onnxruntime")),
}


def missing(kind: Kind) -> list[str]:
    """Return the packages that a kind needs and that are not installed."""
    return [name for name in kind.needs if find_spec(name) is None]


# --- what is whole ---


def seen(folder: Path, suffix: str = "") -> list[Path]:
    """Return the files that a reader takes for whole: none of their names starts with a dot."""
    files = (path for path in folder.rglob(f"*{suffix}") if path.is_file())
    return sorted(
        path for path in files if not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )


def _length(film: Path) -> int:
    with av.open(str(film)) as container:
        return sum(1 for _ in container.decode(video=0))


def _read_csv(path: Path) -> None:
    with path.open(newline="") as file:
        widths = {len(row) for row in csv.reader(file)}
    assert len(widths) <= 1 and path.read_bytes()[-1:] == b"\n"


def _read_page(path: Path) -> None:
    assert path.read_text().rstrip().endswith("</html>")


def _read_arrays(path: Path) -> None:
    with np.load(path) as arrays:
        list(arrays.values())


_READERS: dict[str, Callable[[Path], object]] = {
    ".png": lambda path: Image.open(path).load(),
    ".json": lambda path: json.loads(path.read_text()),
    ".csv": _read_csv,
    ".npz": _read_arrays,
    ".html": _read_page,
    ".mp4": _length,
    ".ckpt": lambda path: torch.load(path, "cpu", weights_only=True),
    ".pt": lambda path: torch.load(path, "cpu", weights_only=True),
    ".safetensors": load_file,
}


def halves(folder: Path, whole: Path) -> list[str]:
    """Return what is taken for whole and is not, given the folder of an undisturbed run.

    Hidden states that a later command reads are among it, and folders that lack pictures.
    """
    states = [path for end in (".resume.pt", ".json") for path in folder.rglob(f"*{end}")]
    bad = []
    for path in sorted({*seen(folder), *states}):
        try:
            _READERS.get(path.suffix, Path.stat)(path)
        except Exception as error:
            name = path.relative_to(folder)
            bad.append(f"{name} does not open ({type(error).__name__}: {str(error)[:80]})")
    for path in {one.parent for one in seen(folder, ".png")}:
        there = {one.name for one in path.glob("*.png")}
        wanted = {one.name for one in (whole / path.relative_to(folder)).glob("*.png")}
        if path.name != "figures" and there != wanted:
            bad.append(f"{path.relative_to(folder)} has {len(there)} of {len(wanted)} maps")
    return bad
