"""The Lightning data module over SUN-SEG and data in its layout."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from sali.data.cache import FrameCache
from sali.data.corruption import BadRuns
from sali.data.datasets import ClipFrames, FrameReader, SampleDataset, Transform
from sali.data.frames import read_mask
from sali.data.index import (
    STILLS,
    SUBSETS,
    Clip,
    fingerprint,
    index_polyp_free,
    index_stills,
    index_subset,
    require_masks,
    require_sizes,
)
from sali.data.listing import litter_counted
from sali.data.motion import StillMotion
from sali.data.samples import Frame, Unreadable
from sali.data.sampling import TrainSampler, clip_indices
from sali.data.split import HELD_OUT, TRAIN, divide, hold_out_cases, read_split, split_of
from sali.data.synthetic import SyntheticSpec, generate
from sali.errors import ConfigError
from sali.models.contract import ClipBatch
from sali.ranges import check_ranges

log = logging.getLogger(__name__)

SHARED_GROUPS = ("stills", "polyp_free")
"""Groups of training samples that may have a share of each epoch."""


class ResumableLoader(DataLoader[ClipBatch]):
    """A training loader that continues in mid-epoch where an interrupted run stopped.

    `ClipData` keeps its state in checkpoints. (Lightning's fit loop does so too, but does not
    restore it when the number of steps was asked for before, as a cosine schedule does.)
    """

    sampler: TrainSampler
    num_batches_given = 0
    _resume_at: Mapping[str, int] | None = None

    def __iter__(self) -> Iterator[ClipBatch]:  # type: ignore[override]
        # A generator, so that workers start only after Lightning has set the sampler's epoch.
        self.num_batches_given = 0
        if self._resume_at is not None and self._resume_at["epoch"] == self.sampler.epoch:
            self.num_batches_given = self._resume_at["num_batches_given"]
        self._resume_at = None
        self.sampler.skip = self.num_batches_given * (self.batch_size or 1)
        for batch in super().__iter__():
            self.num_batches_given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the position in the epoch."""
        return {"epoch": self.sampler.epoch, "num_batches_given": self.num_batches_given}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from a position when the epoch starts."""
        self._resume_at = dict(state)


@dataclass(kw_only=True, eq=False, repr=False)
class ClipData(L.LightningDataModule):
    """Training samples, held-out cases for validation, and test subsets streamed clip by clip.

    configs/data/sun_seg.yaml says what each argument means; `FrameReader`, `skip_at`, `FrameCache`
    and `read_split` say more. `selection` is "held_out", which validates on whole cases held out of
    the training set, or the name of a test subset, as in the released script.

    Attributes:
        roles: Frames of a training sample, as the network's `roles`; to be set before training.
        train_clips: Clips of the training set, once indexed; likewise `val_clips`, `test_clips`.
        parts: Clips that were divided by case, by the name of their part.
    """

    root: str | Path
    stills: str | Path | None
    still_motion: StillMotion | None
    polyp_free: str | Path | None
    sparse_masks: bool
    shares: Mapping[str, float | None]
    corruption: BadRuns | None
    image_size: int
    batch_size: int
    transform: Transform
    max_skip: Sequence[tuple[int, int]]
    neighbor: str
    decode: str
    cache: str | None
    selection: str
    validation_fraction: float
    split_seed: int
    split: str | None
    test_subsets: Sequence[str]
    num_workers: int
    prefetch_factor: int
    pin_memory: bool
    seed: int

    def __post_init__(self) -> None:
        super().__init__()
        numbers = ("batch_size", "num_workers", "prefetch_factor", "seed", "split_seed")
        given = {name: getattr(self, name) for name in (*numbers, "validation_fraction")}
        check_ranges({"data": given}, "train")
        self.root = Path(self.root)
        self.reader = FrameReader(self.image_size, self.decode)
        if self.cache is not None and self.decode != "fast":
            raise ConfigError(
                f"data.cache is {self.cache!r} with data.decode={self.decode}; frames that are "
                "augmented at their own size are not kept: use data.cache=null, or data.decode=fast"
            )
        if unknown := sorted(set(self.shares) - set(SHARED_GROUPS)):
            raise ConfigError(
                f"data.shares: got {unknown[0]}, wanted a share of {' or '.join(SHARED_GROUPS)}"
            )
        self.roles: tuple[str, ...] = ()
        self.train_clips: list[Clip] = []
        self.val_clips: list[Clip] = []
        self.test_clips: dict[str, list[Clip]] = {}
        self.parts: dict[str, list[Clip]] = {}
        self._train_loader: ResumableLoader | None = None
        self._resume_at: Mapping[str, int] | None = None

    def index(self) -> None:
        """List the clips of every part."""
        with litter_counted():
            self._index(Path(self.root))

    def _index(self, root: Path) -> None:
        train = index_subset(root, TRAIN)
        if self.polyp_free is not None:
            train += index_polyp_free(Path(self.polyp_free))
        if self.split is not None:
            self.parts = divide(train, read_split(Path(self.split)))
        elif self.selection == HELD_OUT:
            kept, held_out = hold_out_cases(train, self.validation_fraction, self.split_seed)
            self.parts = {TRAIN: kept, HELD_OUT: held_out}
        else:
            self.parts = {TRAIN: train}
        stills = index_stills(Path(self.stills)) if self.stills is not None else []
        self.train_clips = [*self.parts[TRAIN], *stills]
        self.val_clips = self._part(self.selection)
        self.test_clips = {name: self._part(name) for name in self.test_subsets}
        unused = set(self.parts) - {TRAIN, self.selection, *self.test_subsets}
        if unused:
            log.info("neither trained on nor tested: %s of data.split", ", ".join(sorted(unused)))

    def check_headers(self, tested: Sequence[Clip]) -> None:
        """Refuse files that do not fit together, as far as that shows without decoding them.

        Raises:
            UserError: See `require_masks` and `require_sizes`.
        """
        require_masks([*self.train_clips, *self.val_clips], self.sparse_masks)
        require_sizes([*self.train_clips, *self.val_clips], alike=self.decode == "exact")
        require_sizes(tested, alike=True)

    def _part(self, name: str) -> list[Clip]:
        """Return the clips of a part of the split, or of a published subset."""
        if name in self.parts:
            return self.parts[name]
        if self.split is not None and name not in SUBSETS:
            raise ConfigError(
                f"data.split has parts {', '.join(self.parts)}; wanted {name} too, which "
                "data.selection or data.test_subsets names"
            )
        return index_subset(Path(self.root), name)

    def provenance(self) -> dict[str, Any]:
        """Return what a run's record says about its data."""
        every = [*self.train_clips, *self.val_clips, *chain(*self.test_clips.values())]
        return {
            "root": str(self.root),
            "fingerprint": fingerprint(every, Path(self.root)),
            "train_clips": len(self.train_clips),
            "train_frames": sum(len(c) for c in self.train_clips),
            "train_stills": sum(clip.subset == STILLS for clip in self.train_clips),
            "selection": self.selection,
            "split": split_of(self.parts),
            "validation_clips": [clip.name for clip in self.val_clips],
            "test_subsets": {name: len(clips) for name, clips in self.test_clips.items()},
        }

    def setup(self, stage: str) -> None:
        """List the clips, unless that was done (called by Lightning)."""
        if not self.train_clips:
            self.index()

    def train_dataloader(self) -> ResumableLoader:
        """Return the loader of training samples, at the position of a resumed run."""
        if not self.roles:
            raise ConfigError("data.roles is empty; set it to the network's roles before training")
        cache = None
        if self.cache is not None:
            cache = FrameCache(self.cache, self.train_clips, self.image_size)
        dataset = SampleDataset(
            self.train_clips,
            roles=self.roles,
            reader=self.reader,
            transform=self.transform,
            neighbor=self.neighbor,
            max_skip=dict(self.max_skip),
            seed=self.seed,
            cache=cache,
            motion=self.still_motion,
            sparse=self.sparse_masks,
        )
        shares = self._shares(dataset)
        sampler = TrainSampler(len(dataset), self.seed, self.batch_size, *self._rank(), shares)
        self._train_loader = ResumableLoader(
            dataset, batch_size=self.batch_size, sampler=sampler, **self._loading()
        )
        if self._resume_at is not None:
            self._train_loader.load_state_dict(self._resume_at)
        return self._train_loader

    def _shares(self, dataset: SampleDataset) -> list[tuple[list[int], float]]:
        """Return the groups that have a share, see `draw_with_shares`."""
        groups: dict[str, list[int]] = {name: [] for name in SHARED_GROUPS}
        with_free = self.shares.get("polyp_free") is not None
        for index, (c, i) in enumerate(dataset.positions):
            clip = self.train_clips[c]
            mask = clip.masks[i]
            if with_free and (mask is None or not read_mask(mask).any()):
                groups["polyp_free"].append(index)
            elif clip.subset == STILLS:
                groups[STILLS].append(index)
        return [(groups[name], share) for name, share in self.shares.items() if share is not None]

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the epoch, for Lightning's checkpoints."""
        return self._train_loader.state_dict() if self._train_loader else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a position in the epoch."""
        self._resume_at = state_dict or None
        if self._train_loader is not None and self._resume_at is not None:
            self._train_loader.load_state_dict(self._resume_at)

    def val_dataloader(self) -> DataLoader[Frame | Unreadable]:
        """Return the loader of the validation frames, one at a time; processes have whole clips."""
        clips = self.val_clips
        return DataLoader(
            ClipFrames(clips, self.reader, with_masks=True, sparse=self.sparse_masks),
            batch_size=None,
            sampler=clip_indices([len(clip) for clip in clips], *self._rank()),
            **self._loading(),
        )

    def _loading(self) -> dict[str, Any]:
        """Return the arguments that all loaders share."""
        return {
            "num_workers": self.num_workers,
            "pin_memory": self.pin_memory,
            "persistent_workers": self.num_workers > 0,
            "prefetch_factor": self.prefetch_factor if self.num_workers else None,
            # Its own generator: a loader must not advance the random state of dropout.
            "generator": torch.Generator().manual_seed(self.seed),
        }

    def _rank(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size


@dataclass(kw_only=True, eq=False, repr=False)
class SyntheticClipData(ClipData):
    """`ClipData` over generated clips, which are drawn first if they are not there.

    Attributes:
        spec: Arguments of `SyntheticSpec`.
    """

    spec: Mapping[str, Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.drawing = SyntheticSpec(**self.spec)

    def index(self) -> None:
        """Draw the clips if they are not there, and list them."""
        generate(Path(self.root), self.drawing)
        super().index()
