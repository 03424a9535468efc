"""Which cases are trained on, held out or tested: drawn by a seed, or read from a file."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from sali.data.index import TEST_SUBSETS, Clip
from sali.data.listing import some_of
from sali.errors import ConfigError, DataError

TRAIN, HELD_OUT = "train", "held_out"
Split = dict[str, str]
"""Part by case, or by clip where the clips of a case are in several parts."""


def hold_out_cases(clips: list[Clip], fraction: float, seed: int) -> tuple[list[Clip], list[Clip]]:
    """Split clips into training and validation: a share of the cases, at least one, is held out.

    Raises:
        ConfigError: Fewer than two cases.
    """
    cases = sorted({clip.case for clip in clips})
    if len(cases) < 2:
        raise ConfigError(
            f"cannot hold out {fraction} of {len(clips)} clips, as all are of case "
            f"{', '.join(cases)}: a case is a clip's name up to the first _; rename the "
            "clips, or say with data.split=FILE which to hold out"
        )
    count = max(1, round(fraction * len(cases)))
    held = set(np.random.default_rng(seed).permutation(cases)[:count].tolist())
    return [c for c in clips if c.case not in held], [c for c in clips if c.case in held]


def deal_cases(clips: list[Clip], folds: int, seed: int) -> list[list[Clip]]:
    """Deal whole cases into parts of (nearly) equal numbers of cases, for cross-validation.

    Raises:
        ConfigError: Fewer than two parts, or more parts than cases.
    """
    cases = sorted({clip.case for clip in clips})
    if not 2 <= folds <= len(cases):
        raise ConfigError(f"cannot deal {len(cases)} cases into {folds} folds; wanted 2 or more")
    shuffled = np.random.default_rng(seed).permutation(cases).tolist()
    fold_of = {case: i % folds for i, case in enumerate(shuffled)}
    return [[clip for clip in clips if fold_of[clip.case] == fold] for fold in range(folds)]


def read_split(path: Path) -> Split:
    """Read a split: a YAML or JSON file of `case: part`, or the `run.json` of a run.

    Raises:
        DataError: No such file, another content, or a case that is named twice.
    """
    if not path.is_file():
        raise DataError(f"data.split: no file {path}")
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read data.split {path}: {' '.join(str(error).split())}") from error
    for key in ("data", "split"):  # where run.json has it
        inner = next((value for name, value in _entries(node) if name.value == key), None)
        node = inner if isinstance(inner, yaml.MappingNode) else node
    split: Split = {}
    for name, part in _entries(node):  # nodes, because `yaml.load` keeps the last of equal keys
        if not all(isinstance(n, yaml.ScalarNode) and n.value for n in (name, part)):
            raise DataError(f"data.split {path} has no part for {name.value}; wanted `case: part`")
        if name.value in split:
            raise DataError(f"data.split {path} names {name.value} twice; wanted one part each")
        split[name.value] = part.value
    if not split:
        raise DataError(f"data.split {path} holds no `case: part`; wanted a line for every case")
    return split


def divide(clips: Sequence[Clip], split: Mapping[str, str]) -> dict[str, list[Clip]]:
    """Return the clips of each part, in their order.

    Raises:
        DataError: A name that is neither a case nor a clip, a clip without a part, a clip named
            by itself and by its case, no part `train`, or a part named as a published subset.
    """
    unknown = sorted(set(split) - {name for clip in clips for name in (clip.case, clip.name)})
    if unknown:
        raise DataError(
            f"data.split names {some_of(unknown)}, which the data does not have; its cases are "
            f"{some_of(sorted({clip.case for clip in clips}))}"
        )
    missing = [clip.name for clip in clips if not {clip.case, clip.name} & split.keys()]
    if missing:
        raise DataError(
            f"data.split says nothing of {some_of(missing)}; wanted a part for every case"
        )
    twice = [c for c in clips if c.case != c.name and {c.case, c.name} <= split.keys()]
    if twice:
        raise DataError(
            f"data.split names clip {twice[0].name} and its case {twice[0].case}; wanted one"
        )
    parts: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        parts[split.get(clip.name) or split[clip.case]].append(clip)
    published = [part for part in parts if part in TEST_SUBSETS]
    if TRAIN not in parts or published:
        raise DataError(
            f"data.split has parts {some_of(parts)}; wanted {TRAIN} among them, and none with the "
            f"name of a published subset ({', '.join(TEST_SUBSETS)})"
        )
    return dict(parts)


def split_of(parts: Mapping[str, Sequence[Clip]]) -> Split:
    """Return the split that `divide` makes these parts of: by case, or by clip where it must be."""
    parts_of: dict[str, set[str]] = defaultdict(set)
    for part, clips in parts.items():
        for clip in clips:
            parts_of[clip.case].add(part)
    return {
        clip.case if len(parts_of[clip.case]) == 1 else clip.name: part
        for part, clips in parts.items()
        for clip in clips
    }


def _entries(node: yaml.Node | None) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else []
