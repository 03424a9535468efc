"""Samples for training, and frames of whole clips for testing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from sali.data.cache import FrameCache
from sali.data.clips import Clip
from sali.data.frames import check_size, read_frame, read_mask, resize_frame, resize_mask
from sali.data.samples import Frame, Unreadable
from sali.data.sampling import sample_triplet, skip_at
from sali.data.tensors import to_tensor
from sali.data.transforms import ClipTransform
from sali.errors import ConfigError, DataError, FrameError
from sali.models.contract import ClipBatch

DECODES = ("fast", "exact")


@dataclass(frozen=True)
class FrameReader:
    """How frame files become images of the network's size.

    Args:
        image_size: side in pixels.
        decode: "fast" decodes JPEGs near that size; "exact" decodes in full, as released.

    Raises:
        ConfigError: unknown ``decode``.
    """

    image_size: int
    decode: str

    def __post_init__(self) -> None:
        if self.decode not in DECODES:
            raise ConfigError(f"decode {self.decode!r} is not one of {DECODES}")

    def native(self, path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        """As decoded, uint8 [h, w, 3], and the true size (H, W)."""
        return read_frame(path, near=self.image_size if self.decode == "fast" else None)

    def fitted(self, path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        """At the network's size, uint8 [S, S, 3], and the true size (H, W)."""
        frame, size = self.native(path)
        return resize_frame(frame, self.image_size), size


class TripletDataset(Dataset[ClipBatch]):
    """Every frame of the clips as the current frame, with the frames that go with it.

    With ``reader.decode == "fast"`` frames are resized before they are augmented, which is cheaper;
    with "exact" after, as released.

    Args:
        clips: with a mask for every frame.
        roles: frames of a sample in order, of memory, current and neighbor.
        reader: how files become images.
        transform: augmentation.
        neighbor: "previous" or "next", see ``sample_triplet``.
        max_skip: first epoch -> largest distance of the memory frame.
        seed: of all draws.
        cache: of these clips, with "fast" only; samples are the same with and without.

    Raises:
        DataError: a frame without a mask.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        roles: Sequence[str],
        reader: FrameReader,
        transform: ClipTransform,
        neighbor: str,
        max_skip: Mapping[int, int],
        seed: int,
        cache: FrameCache | None = None,
    ) -> None:
        _require_masks(clips)
        assert cache is None or reader.decode == "fast"
        self.clips = list(clips)
        self.roles = tuple(roles)
        self.reader = reader
        self.transform = transform
        self.neighbor = neighbor
        self.max_skip = dict(max_skip)
        self.seed = seed
        self.cache = cache
        self.positions = [(c, i) for c, clip in enumerate(clips) for i in range(len(clip.frames))]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, key: tuple[int, int]) -> ClipBatch:
        """Sample of (epoch, index); equal keys give equal samples."""
        return self.to_tensors(*self.transform(*self.read(key)))

    def read(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
        """Frames [T, h, w, 3] and masks [T, h, w] of a sample, and what its other draws come from.

        Args:
            key: (epoch, index).
        """
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        c, current = self.positions[index]
        skip = skip_at(epoch, self.max_skip)
        length = len(self.clips[c].frames)
        picked = sample_triplet(length, current, skip, self.neighbor, rng)
        pairs = (self._read(c, picked[role]) for role in self.roles)
        frames, masks = zip(*pairs, strict=True)
        return np.stack(frames), np.stack(masks), rng

    def to_tensors(self, frames: np.ndarray, masks: np.ndarray) -> ClipBatch:
        """Augmented frames and masks at the network's size."""
        size = self.reader.image_size
        return ClipBatch(
            torch.stack([to_tensor(resize_frame(frame, size)) for frame in frames]),
            torch.stack([torch.from_numpy(resize_mask(mask, size)) for mask in masks])
            .unsqueeze(1)
            .float(),
        )

    def _read(self, c: int, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame and mask as they are augmented."""
        if self.cache is None:
            return self._decode(c, i)
        pair = self.cache.load(c, i)
        if pair is None:
            pair = self._decode(c, i)
            self.cache.store(c, i, *pair)
        return pair

    def _decode(self, c: int, i: int) -> tuple[np.ndarray, np.ndarray]:
        path, mask_path = self.clips[c].frames[i], self.clips[c].masks[i]
        assert mask_path is not None  # checked at construction
        mask = read_mask(mask_path)
        exact = self.reader.decode == "exact"
        frame, size = self.reader.native(path) if exact else self.reader.fitted(path)
        check_size(path, size, mask_path, mask)
        return frame, mask if exact else resize_mask(mask, len(frame))


class ClipFrames(Dataset[Frame | Unreadable]):
    """All frames of the clips, one after another.

    Args:
        clips: in the order in which they are numbered.
        reader: how files become images.
        with_masks: read masks too; a frame without one is an error.
        keep_bad: Give an unreadable frame as `Unreadable` instead of raising.

    Raises:
        DataError: a mask is needed and missing.
    """

    def __init__(
        self, clips: Sequence[Clip], reader: FrameReader, with_masks: bool, keep_bad: bool = False
    ) -> None:
        self.clips = list(clips)
        self.reader = reader
        self.with_masks = with_masks
        self.keep_bad = keep_bad
        if with_masks:
            _require_masks(clips)
        self.positions = [(c, i) for c, clip in enumerate(clips) for i in range(len(clip.frames))]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Frame | Unreadable:
        c, i = self.positions[index]
        clip = self.clips[c]
        is_last = i == len(clip.frames) - 1
        try:
            frame, size = self.reader.fitted(clip.frames[i])
        except FrameError as error:
            if not self.keep_bad:
                raise
            return Unreadable(clip=c, number=i, is_last=is_last, error=str(error))
        mask, path = None, clip.masks[i]
        if self.with_masks and path is not None:
            array = read_mask(path)
            check_size(clip.frames[i], size, path, array)
            mask = torch.from_numpy(array)
        image = to_tensor(frame)
        return Frame(clip=c, number=i, is_last=is_last, image=image, size=size, mask=mask)


def _require_masks(clips: Sequence[Clip]) -> None:
    for clip in clips:
        for frame, mask in zip(clip.frames, clip.masks, strict=True):
            if mask is None:
                raise DataError(f"frame {frame} has no mask in the GT folder of clip {clip.name}")
