"""The Lightning data module over SUN-SEG and data in its layout."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from sali.data.cache import FrameCache
from sali.data.clips import Clip, fingerprint, index_subset
from sali.data.datasets import ClipFrames, FrameReader, TripletDataset
from sali.data.samples import Frame, Unreadable
from sali.data.sampling import ClipSampler, TrainSampler, hold_out_cases
from sali.data.synthetic import SyntheticSpec, generate
from sali.data.transforms import ClipTransform
from sali.errors import ConfigError
from sali.models.contract import ClipBatch

HELD_OUT = "held_out"


class ResumableLoader(DataLoader[ClipBatch]):
    """A training loader that goes on in mid-epoch where an interrupted run stopped.

    ``ClipData`` keeps its state in checkpoints. (Lightning's fit loop does so too, but does not put
    it back when the number of steps was asked for before, as a cosine schedule does.)
    """

    num_batches_given = 0
    _resume_at: Mapping[str, int] | None = None

    @property
    def _order(self) -> TrainSampler:
        assert isinstance(self.sampler, TrainSampler)
        return self.sampler

    def __iter__(self) -> Iterator[ClipBatch]:  # type: ignore[override]
        # A generator, so that workers start only after Lightning has set the sampler's epoch.
        self.num_batches_given = 0
        if self._resume_at is not None and self._resume_at["epoch"] == self._order.epoch:
            self.num_batches_given = self._resume_at["num_batches_given"]
        self._resume_at = None
        self._order.skip = self.num_batches_given * (self.batch_size or 1)
        for batch in super().__iter__():
            self.num_batches_given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self._order.epoch, "num_batches_given": self.num_batches_given}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._resume_at = dict(state)


class ClipData(L.LightningDataModule):
    """Training triplets, held-out cases for validation, and test subsets streamed clip by clip.

    Args:
        root: folder in the SUN-SEG layout.
        image_size: side in pixels that the network sees.
        batch_size: samples per process and step.
        transform: augmentation.
        max_skip: (first epoch, largest distance of the memory frame), see ``skip_at``.
        neighbor: "previous" or "next".
        decode: "fast" or "exact", see ``FrameReader``.
        cache: "ram", or a folder, keeps the training frames as they are decoded; None does not.
        selection: "held_out" validates on whole cases held out of the training set; the name of a
            test subset validates on that, as the released script does.
        validation_fraction: share of the training cases to hold out.
        test_subsets: subsets tested after training.
        num_workers: loader processes.
        prefetch_factor: batches fetched ahead by each.
        pin_memory: page-locked batches, for GPUs.
        seed: of held-out cases, order and draws.
    """

    def __init__(
        self,
        root: str,
        image_size: int,
        batch_size: int,
        transform: ClipTransform,
        max_skip: Sequence[tuple[int, int]],
        neighbor: str,
        decode: str,
        cache: str | None,
        selection: str,
        validation_fraction: float,
        test_subsets: Sequence[str],
        num_workers: int,
        prefetch_factor: int,
        pin_memory: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.reader = FrameReader(image_size, decode)
        if cache is not None and decode != "fast":
            raise ConfigError(
                f"data.cache is {cache!r} with data.decode={decode}; frames that are augmented at "
                "their own size are not kept: use data.cache=null, or data.decode=fast"
            )
        self.cache = cache
        self.batch_size = batch_size
        self.transform = transform
        self.max_skip = dict(max_skip)
        self.neighbor = neighbor
        self.selection = selection
        self.validation_fraction = validation_fraction
        self.test_subsets = list(test_subsets)
        self.seed = seed
        self.roles: tuple[str, ...] = ("memory", "current", "neighbor")
        self._workers: dict[str, Any] = {
            "num_workers": num_workers,
            "pin_memory": pin_memory,
            "persistent_workers": num_workers > 0,
            "prefetch_factor": prefetch_factor if num_workers else None,
        }
        self.train_clips: list[Clip] = []
        self.val_clips: list[Clip] = []
        self.test_clips: dict[str, list[Clip]] = {}
        self._train_loader: ResumableLoader | None = None
        self._resume_at: Mapping[str, int] | None = None

    def index(self) -> None:
        """List the clips of every part; raises DataError for anything missing."""
        train = index_subset(self.root, "train")
        if self.selection == HELD_OUT:
            self.train_clips, self.val_clips = hold_out_cases(
                train, self.validation_fraction, self.seed
            )
        else:
            self.train_clips, self.val_clips = train, index_subset(self.root, self.selection)
        self.test_clips = {name: index_subset(self.root, name) for name in self.test_subsets}

    def provenance(self) -> dict[str, Any]:
        """What a run's record says about its data."""
        every = [
            *self.train_clips,
            *self.val_clips,
            *(c for t in self.test_clips.values() for c in t),
        ]
        return {
            "root": str(self.root),
            "fingerprint": fingerprint(every, self.root),
            "train_clips": len(self.train_clips),
            "train_frames": sum(len(c.frames) for c in self.train_clips),
            "selection": self.selection,
            "validation_clips": [clip.name for clip in self.val_clips],
            "test_subsets": {name: len(clips) for name, clips in self.test_clips.items()},
        }

    def setup(self, stage: str) -> None:
        if not self.train_clips:
            self.index()

    def train_dataloader(self) -> ResumableLoader:
        dataset = TripletDataset(
            self.train_clips,
            self.roles,
            self.reader,
            self.transform,
            self.neighbor,
            self.max_skip,
            self.seed,
            FrameCache(self.cache, self.train_clips, self.reader.image_size)
            if self.cache is not None
            else None,
        )
        sampler = TrainSampler(len(dataset), self.seed, self.batch_size, *self._rank())
        self._train_loader = ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            # Its own generator: a loader must not advance the random state that dropout draws from.
            generator=torch.Generator().manual_seed(self.seed),
            **self._workers,
        )
        if self._resume_at is not None:
            self._train_loader.load_state_dict(self._resume_at)
        return self._train_loader

    def state_dict(self) -> dict[str, Any]:
        """Position in the epoch, for Lightning's checkpoints."""
        return self._train_loader.state_dict() if self._train_loader else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resume_at = state_dict or None
        if self._train_loader is not None and self._resume_at is not None:
            self._train_loader.load_state_dict(self._resume_at)

    def val_dataloader(self) -> DataLoader[Frame | Unreadable]:
        return self._stream(self.val_clips)

    def _stream(self, clips: list[Clip]) -> DataLoader[Frame | Unreadable]:
        """Frames in order, one at a time; every process has whole clips."""
        return DataLoader(
            ClipFrames(clips, self.reader, with_masks=True),
            batch_size=None,
            sampler=ClipSampler([len(clip.frames) for clip in clips], *self._rank()),
            generator=torch.Generator().manual_seed(self.seed),
            **self._workers,
        )

    def _rank(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size


class SyntheticClipData(ClipData):
    """``ClipData`` over generated clips, which are drawn first if they are not there.

    Args:
        spec: arguments of ``SyntheticSpec``.
        kwargs: arguments of ``ClipData``.
    """

    def __init__(self, spec: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = SyntheticSpec(**spec)

    def index(self) -> None:
        generate(self.root, self.spec)
        super().index()
