"""Generated clips: drawings of colonoscopy video in the SUN-SEG folder layout.

They let the demo, the tests and a new user run everything without the access-restricted data set.
They are not medical data (each frame says DRAWN in a corner), and a score reached on them says
nothing about patients.

How a frame is drawn: the bowel is a tube whose wall is a picture [along, around], seen in
perspective from its axis. The polyp is a lobed, shaded ellipse at one place of the wall, which the
camera nears, passes and returns to. Lengths are in tube radii, angles in radians, times in frames.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sali.errors import DataError, OvertakenError
from sali.ranges import check_ranges
from sali.run.io import atomic_write, write_json
from sali.run.progress import progress_bar

GENERATOR_VERSION = 2  # raise it whenever the same spec would give other pixels
# Cases without a training clip are numbered from here, so that more clips renumber none of them.
EASY_UNSEEN, HARD_UNSEEN, NO_POLYP = 10001, 20001, 30001

Array = NDArray[Any]
Random = np.random.Generator
_WALL = (1024, 512)  # samples of the wall [along, around]
_PER_UNIT = np.float32(_WALL[1] / (2 * np.pi))
_FOCAL = 0.5  # half image heights at a distance of one radius
_PLACE = 6.0  # of the polyp along the tube
_FAULTS = ("motion", "defocus", "glare", "dark")


@dataclass(frozen=True)
class SyntheticSpec:
    """Size and content of a generated data set.

    Attributes:
        train_clips: Clips with a polyp in TrainDataset, each from its own case.
        test_clips_per_subset: Clips with a polyp in each of easy/hard x seen/unseen.
        polyp_free_clips: Further clips, dealt in turn to training, easy unseen and hard unseen.

    Raises:
        ConfigError: A number is too small.
    """

    train_clips: int = 8
    test_clips_per_subset: int = 2
    frames_per_clip: int = 36
    height: int = 256
    width: int = 320
    polyp_free_clips: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges({"generated": asdict(self)}, "demo")


# --- drawing ---


class _Polyp(NamedTuple):
    around: float
    size: float
    aspect: float
    turn: float
    lobes: Array  # phases of the outline's waves
    skin: Array  # float32 [256, 256, 3]


class _View(NamedTuple):
    distance: float  # to the polyp, along the tube
    roll: float
    centre: Array  # (x, y) of the tube's axis, in half image heights from the middle


def draw_clip(
    seed: int,
    case: int,
    segment: int,
    length: int,
    height: int,
    width: int,
    hard: bool = False,
    polyp: bool = True,
) -> Iterator[tuple[Array, Array]]:
    """Draw one clip frame by frame.

    The case decides the look of the wall and of the polyp, the segment (the number of the clip in
    its case) the camera path and the bad frames. A longer clip begins with the frames of a shorter
    one; `hard` is faster motion and more, longer and worse runs of bad frames.

    Yields:
        Frame, uint8 RGB [height, width, 3], and mask, uint8 [height, width] of 0 and 255.
    """
    look = np.random.default_rng([seed, case])
    path_rng, fault_rng, grain_rng = np.random.default_rng([seed, case, segment]).spawn(3)
    wall, thing = _draw_wall(look), _draw_polyp(look)
    camera, faults = _camera(path_rng, hard), _faults(fault_rng, hard)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    inside = np.maximum(abs(x), abs(y)) < 0.97
    inside &= abs(x) + abs(y) < 1.6  # the octagon that a scope shows
    lens = cv2.GaussianBlur(inside * (1 - 0.3 * np.square(x * x + y * y)), (3, 3), 0)
    x = x * np.float32(width / height)
    for t, fault in zip(range(length), faults, strict=False):
        view = camera(t, thing.around)
        dx, dy = x - np.float32(view.centre[0]), y - np.float32(view.centre[1])
        depth = np.minimum(_FOCAL / (np.hypot(dx, dy) + 1e-6), 8)
        angle, along = np.arctan2(dy, dx) + view.roll, depth + (_PLACE - view.distance)
        colour = _look_up(wall, angle * _PER_UNIT, along * _PER_UNIT)
        colour = colour * (1.5 / (0.9 + depth * depth))[..., None]
        member = np.zeros(inside.shape, bool)
        if polyp and view.distance > 0:
            _add_polyp(thing, view, x, y, colour, member)
        colour = fault(colour) + 0.012 * grain_rng.standard_normal((height, width, 1), np.float32)
        frame = (255 * np.clip(colour, 0, 1) * lens[..., None]).astype(np.uint8)
        spot = (2, height - 3)
        cv2.putText(frame, "DRAWN", spot, 0, height / 1000, (90, 90, 90), 1, cv2.LINE_AA)
        yield frame, (member & inside).astype(np.uint8) * 255


def _noise(rng: Random, shape: tuple[int, int], cell: float) -> Array:
    """Return smooth noise in about -1..1, float32, which wraps around in both directions."""
    rows, columns = (max(4, round(n / cell)) for n in shape)
    grid = np.pad(rng.uniform(-1, 1, (rows, columns)).astype(np.float32), 2, mode="wrap")
    scale_y, scale_x = shape[0] / rows, shape[1] / columns
    move = np.array([[1 / scale_x, 0, 2], [0, 1 / scale_y, 2]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(grid, move, shape[::-1], flags=flags))


def _look_up(picture: Array, x: Array, y: Array) -> Array:
    """Return a picture, which wraps around, at coordinates."""
    at = np.float32(x), np.float32(y)
    return np.asarray(cv2.remap(picture, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))


def _draw_wall(rng: Random) -> Array:
    """Return the mucosa, float32 RGB [along, around, 3]: folds, blotches, vessels, red spots."""
    base = np.array([0.80, 0.44, 0.36]) + 0.05 * rng.uniform(-1, 1, 3)
    along = np.arange(_WALL[0], dtype=np.float32)[:, None] / _WALL[0]
    around = np.arange(_WALL[1], dtype=np.float32) / _PER_UNIT
    folds = int(rng.integers(11, 15))
    place = along * folds + 0.25 * _noise(rng, _WALL, 250)
    turns = np.sort(rng.uniform(0, 2 * np.pi, folds))[place.astype(int) % folds]
    off = place % 1 - 0.5
    crescent = 0.3 + 0.7 * np.square(np.cos((around - turns) / 2))
    crest = crescent * np.exp(-np.square(off / 0.1))
    behind = crescent * np.exp(-np.square((off - 0.22) / 0.12))
    vessels = np.zeros(_WALL, np.uint8)
    for _ in range(60):
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, 40))
        steps = np.cumsum(5 * np.stack([np.cos(heading), np.sin(heading)], 1), 0)
        line = np.round(rng.uniform(0, 1, 2) * _WALL[::-1] + steps).astype(np.int32)
        cv2.polylines(vessels, [line], False, 200, int(rng.integers(1, 3)), cv2.LINE_AA)
    red = np.clip(_noise(rng, _WALL, 80) - 0.3, 0, 1)
    light = 1 + 0.45 * crest - 0.55 * behind + 0.1 * _noise(rng, _WALL, 40)
    paint = base * (light + 0.04 * _noise(rng, _WALL, 6))[..., None]
    paint -= (vessels / 255)[..., None] * (0.10, 0.18, 0.14)
    paint -= red[..., None] * (0.02, 0.22, 0.18)
    return np.clip(paint, 0.02, 1).astype(np.float32)


def _draw_polyp(rng: Random) -> _Polyp:
    base = np.array([0.80, 0.38, 0.32]) + 0.06 * rng.uniform(-1, 1, 3)
    pits = 1 + 0.12 * _noise(rng, (256, 256), 9) + 0.15 * _noise(rng, (256, 256), 50)
    return _Polyp(
        around=rng.uniform(0, 2 * np.pi),
        size=rng.uniform(0.4, 0.6),
        aspect=rng.uniform(0.7, 1),
        turn=rng.uniform(0, np.pi),
        lobes=rng.uniform(0, 2 * np.pi, 3),
        skin=(base * pits[..., None]).astype(np.float32),
    )


def _add_polyp(
    polyp: _Polyp, view: _View, x: Array, y: Array, colour: Array, member: Array
) -> None:
    """Draw the polyp over the wall in place; `member` becomes True where it is."""
    direction, reach = polyp.around - view.roll, _FOCAL / view.distance
    size = polyp.size * min(reach, 1.0)
    at = view.centre + reach * np.array([np.cos(direction), np.sin(direction)])
    turn = direction + polyp.turn
    dx, dy = x - np.float32(at[0]), y - np.float32(at[1])
    u = (dx * np.cos(turn) + dy * np.sin(turn)) / size
    v = (dy * np.cos(turn) - dx * np.sin(turn)) / (size * polyp.aspect)
    phi = np.arctan2(v, u)
    waves = sum(np.sin(n * phi + polyp.lobes[n - 2]) / n for n in (2, 3, 4))
    q = (np.hypot(u, v) / (1 + 0.13 * waves)).astype(np.float32)
    colour *= (1 - 0.5 * np.exp(-np.square((q - 1.05) / 0.13)))[..., None]  # its shadow
    member |= q < 1
    height = np.sqrt(np.clip(1 - q * q, 0, 1))
    stretch = 128 + 60 * np.stack([u, v]) * (1.4 - 0.4 * height)
    skin = _look_up(polyp.skin, *stretch)
    shine = np.clip((height - 0.93) / 0.07, 0, 1) * (skin.mean(2) > polyp.skin.mean())
    lit = skin * (1.5 * (0.25 + 0.75 * height) / (0.9 + view.distance**2))[..., None]
    colour[member] = (lit + 0.5 * shine[..., None])[member]


def _wander(rng: Random, period: float, size: float) -> Callable[[float], Array]:
    """Return two smooth random functions of time of about the given period and amplitude."""
    rates = 2 * np.pi / (period * rng.uniform(0.5, 1.5, (3, 2)))
    phases = rng.uniform(0, 2 * np.pi, (3, 2))
    return lambda t: (size * np.array([[0.5], [0.3], [0.2]]) * np.sin(rates * t + phases)).sum(0)


def _camera(rng: Random, hard: bool) -> Callable[[int, float], _View]:
    """Return a path that nears the polyp, passes it and comes back, by time and its direction."""
    pace = 1.7 if hard else 1.0
    period, phase = rng.uniform(60, 85) / pace, rng.uniform(-0.9, 0.2) * np.pi
    middle, reach = rng.uniform(0.65, 0.85), rng.uniform(0.75, 0.95)
    drift, shake = _wander(rng, 45 / pace, 0.2), _wander(rng, 9, 0.03 * pace)
    roll = _wander(rng, 130 / pace, 0.5)

    def view(t: int, around: float) -> _View:
        distance = middle + reach * np.cos(2 * np.pi * t / period - phase)
        turn = float(roll(t)[0])
        # The operator steers towards the polyp, but only so far: this is how it gets lost.
        steer = -min(0.45 * _FOCAL / max(distance, 0.1), 0.5)
        direction = np.array([np.cos(around - turn), np.sin(around - turn)])
        return _View(float(distance), turn, steer * direction + drift(t) + shake(t))

    return view


def _faults(rng: Random, hard: bool) -> Iterator[Callable[[Array], Array]]:
    """Yield without end what spoils the next frame; `hard` for more, longer and worse runs."""
    pause, longest, worst = (9, 10, 1.0) if hard else (40, 6, 0.6)
    while True:
        yield from [lambda colour: colour] * (5 + int(rng.exponential(pause)))
        kind, frames = str(rng.choice(_FAULTS)), int(rng.integers(3, longest))
        peak, turn = worst * rng.uniform(0.6, 1.0), rng.uniform(0, 180)
        for age in range(frames):
            strength = peak * np.sin(np.pi * (age + 0.7) / (frames + 0.4)) ** 0.5
            yield partial(_spoil, kind=kind, strength=float(strength), turn=turn + 10 * age)


def _spoil(colour: Array, kind: str, strength: float, turn: float) -> Array:
    if kind == "dark":
        return colour * (1 - 0.85 * strength)
    if kind == "defocus":
        return np.asarray(cv2.GaussianBlur(colour, (0, 0), 0.5 + 0.017 * strength * len(colour)))
    if kind == "glare":
        reach, hot = len(colour) // 6, colour * (1 + 1.6 * strength)
        return np.asarray(hot + 0.6 * strength * cv2.blur(hot, (reach, reach)))
    half = int(2 + 0.06 * strength * len(colour))  # motion along a line
    line = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    line[half] = 1
    kernel = cv2.warpAffine(line, cv2.getRotationMatrix2D((half, half), turn, 1.0), line.shape)
    return np.asarray(cv2.filter2D(colour, -1, kernel / kernel.sum()))


# --- the data set ---


class _Plan(NamedTuple):
    folder: str
    case: int
    segment: int
    hard: bool
    polyp: bool


def generate(root: Path, spec: SyntheticSpec) -> Path:
    """Write a generated data set in the SUN-SEG layout, unless it is there; return its root.

    The folder gets its name only when complete, so an interrupted call leaves nothing that looks
    like a data set, and several processes may call this at once. `root/spec.json` holds the spec
    and the version of the generator.

    Raises:
        DataError: `root` holds anything other than this data set, or cannot be written.
    """
    wanted = {"generator_version": GENERATOR_VERSION, **asdict(spec)}
    try:
        if not _is_complete(root, wanted):
            with atomic_write(root) as draft, progress_bar("clips") as progress:
                for clip in progress.track(list(_plan(spec)), description="draw clips"):
                    _write_clip(draft, spec, clip)
                write_json(draft / "spec.json", wanted)
    except OvertakenError:
        if not _is_complete(root, wanted):
            raise
    except OSError as error:
        message = f"cannot write {root}: {error}; check free space and permissions"
        raise DataError(message) from error
    return root


def _is_complete(root: Path, wanted: dict[str, int]) -> bool:
    """Return whether `root` holds the wanted data set; refuse a folder that holds another."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    file = root / "spec.json"
    try:
        found = json.loads(file.read_text()) if file.is_file() else "no spec.json"
    except ValueError:
        found = "an unreadable spec.json"
    if found != wanted:
        raise DataError(
            f"{root} already exists with {found}, but {wanted} was wanted; "
            "delete that folder or choose another root"
        )
    return True


def _plan(spec: SyntheticSpec) -> Iterator[_Plan]:
    """Yield all clips; none depends on how many others there are."""
    for i in range(spec.train_clips):
        yield _Plan("TrainDataset", i + 1, 1, i % 2 == 1, True)
    for i in range(spec.test_clips_per_subset):
        again, seen = divmod(i, spec.train_clips)  # later parts of training cases
        yield _Plan("TestEasyDataset/Seen", seen + 1, 2 + 2 * again, False, True)
        yield _Plan("TestHardDataset/Seen", seen + 1, 3 + 2 * again, True, True)
        yield _Plan("TestEasyDataset/Unseen", EASY_UNSEEN + i, 1, False, True)
        yield _Plan("TestHardDataset/Unseen", HARD_UNSEEN + i, 1, True, True)
    homes = ("TrainDataset", "TestEasyDataset/Unseen", "TestHardDataset/Unseen")
    for i in range(spec.polyp_free_clips):
        yield _Plan(homes[i % 3], NO_POLYP + i, 1, i % 3 == 2, False)


def _write_clip(root: Path, spec: SyntheticSpec, clip: _Plan) -> None:
    """Write the frames and masks of one clip under SUN-SEG names."""
    name = f"case{clip.case}_{clip.segment}"
    frames, masks = (root / clip.folder / kind / name for kind in ("Frame", "GT"))
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    size = (spec.frames_per_clip, spec.height, spec.width)
    drawn = draw_clip(spec.seed, clip.case, clip.segment, *size, clip.hard, clip.polyp)
    half = (spec.frames_per_clip + 1) // 2
    for i, (frame, mask) in enumerate(drawn):
        # As in SUN-SEG, a clip spans numbered parts and images count from 1 in each. Part 10
        # follows part 9, so that sorting the names as plain text gives the wrong order.
        stem = f"case_M_20200101{clip.case:06d}_0U{clip.segment:014d}_1_{clip.case:03d}_001-1"
        stem += f"_a{9 + i // half}_ayy_image{i % half + 1:04d}"
        bgr, quality = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92]
        written = cv2.imwrite(str(frames / f"{stem}.jpg"), bgr, quality)
        if not (written and cv2.imwrite(str(masks / f"{stem}.png"), mask)):
            raise OSError(f"{stem} was not written")
