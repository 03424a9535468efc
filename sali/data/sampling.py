"""Which frames form a training sample, and in which order samples and clips are visited."""

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from sali.errors import ConfigError

NEIGHBORS = ("previous", "next")


def skip_at(epoch: int, schedule: Mapping[int, int]) -> int:
    """Return the largest distance in frames of the memory frame in an epoch, counted from 0.

    `schedule` is {first epoch: distance}.

    Raises:
        ConfigError: No entry for epoch 0, or a distance below 1.
    """
    if 0 not in schedule or min(schedule.values()) < 1:
        raise ConfigError(
            f"max_skip is {dict(schedule)}; wanted distances >= 1, the first at epoch 0"
        )
    return schedule[max(start for start in schedule if start <= epoch)]


def sample_frames(
    length: int,
    current: int,
    max_skip: int,
    neighbor: str,
    rng: np.random.Generator,
) -> dict[str, int]:
    """Return the frame numbers of memory, current and neighbor frame in a clip.

    With neighbor "previous" nothing looks ahead: the memory frame is earlier than the current one
    and the neighbor is the frame before; the first frame stands for both itself. With "next" it is
    as released: the neighbor is the next frame (for the last frame the previous), and the first
    frame's memory is the second. The memory frame is at most `max_skip` frames away.

    Raises:
        ConfigError: Unknown `neighbor`.
    """
    last = length - 1
    if neighbor == "previous":
        nearest, first_memory = max(current - 1, 0), 0
    elif neighbor == "next":
        nearest = current + 1 if current < last else max(last - 1, 0)
        first_memory = min(1, last)
    else:
        raise ConfigError(f"neighbor {neighbor!r} is not one of {NEIGHBORS}")
    first = max(current - max_skip, 0)
    memory = int(rng.integers(first, current)) if current else first_memory
    return {"memory": memory, "current": current, "neighbor": nearest}


def still_times(max_skip: int, neighbor: str, rng: np.random.Generator) -> dict[str, int]:
    """Return the times of memory, current and neighbor frame of a clip simulated from a still.

    The arguments are those of `sample_frames`.
    """
    memory = -int(rng.integers(1, max_skip + 1))
    return {"memory": memory, "current": 0, "neighbor": 1 if neighbor == "next" else -1}


def draw_with_shares(
    num_samples: int, shares: Sequence[tuple[Sequence[int], float]], rng: np.random.Generator
) -> np.ndarray:
    """Return the order of an epoch in which groups of samples have given shares.

    Without shares each sample comes once. Of a group with a share, samples come as often as it
    takes, none twice before all others came once more; the samples of no group fill the rest.

    Args:
        num_samples: Number of samples, and of draws.
        shares: Indices of each group's samples, of which none is in two groups, and its share.
        rng: Generator of the draws.

    Raises:
        ConfigError: A group without samples, or shares that leave no room for the rest.
    """
    if not shares:
        return rng.permutation(num_samples)
    rest = np.setdiff1d(np.arange(num_samples), np.concatenate([group for group, _ in shares]))
    counts = [round(share * num_samples) for _, share in shares]
    left = num_samples - sum(counts)
    if left < 0 or (left > 0) != (len(rest) > 0) or not all(len(group) for group, _ in shares):
        sizes = ", ".join(f"{len(group)} samples at {share}" for group, share in shares)
        raise ConfigError(
            f"data.shares: got groups of {sizes} and {len(rest)} other samples; wanted samples in "
            "each group, and shares that sum up to 1 only if there are no others"
        )
    groups = [*(np.asarray(group) for group, _ in shares), rest]
    drawn = []
    for group, count in zip(groups, [*counts, left], strict=True):
        rounds = [rng.permutation(group) for _ in range(-(-count // max(len(group), 1)))]
        drawn.append(np.concatenate(rounds)[:count] if rounds else group[:0])
    return rng.permutation(np.concatenate(drawn))


@dataclass(eq=False, repr=False)
class TrainSampler(Sampler[tuple[int, int]]):
    """Every training frame once an epoch, shuffled, dealt out to the processes.

    Yields (epoch, index): a sample's random draws depend on these and the seed alone, so neither
    the number of workers nor an interruption changes them. The tail that does not fill a batch on
    every process is dropped; it differs from epoch to epoch.

    Attributes:
        batch_size: Samples per process and step.
        shares: Groups of samples and their shares, see `draw_with_shares`.
        skip: Samples left out at the start of the next pass: those seen before an interruption.

    Raises:
        ConfigError: Fewer samples than one batch on every process.
    """

    num_samples: int
    seed: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    shares: Sequence[tuple[Sequence[int], float]] = ()

    def __post_init__(self) -> None:
        step = self.batch_size * self.world_size
        if self.num_samples < step:
            raise ConfigError(
                f"{self.num_samples} training frames do not fill one batch of {self.batch_size} on "
                f"each of {self.world_size} processes; lower data.batch_size"
            )
        self.length = self.num_samples // step * self.batch_size
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch (called by Lightning at its start)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = draw_with_shares(self.num_samples, self.shares, rng)
        mine = order[self.rank :: self.world_size][self.skip : self.length]
        self.skip = 0
        return ((self.epoch, int(index)) for index in mine)


def clip_indices(lengths: Sequence[int], rank: int = 0, world_size: int = 1) -> list[int]:
    """Return the frame indices of this process: whole clips in order, each on one process only.

    With fewer clips than processes, every process has all of them. `lengths` are the numbers of
    frames of the clips, in the order of the data set.
    """
    starts = np.cumsum([0, *lengths]).tolist()
    # A process without clips would skip its loop, and the others would wait for it. With all
    # clips on every process, means stay what they are.
    spread = len(lengths) >= world_size
    mine = range(rank, len(lengths), world_size) if spread else range(len(lengths))
    return [i for c in mine for i in range(starts[c], starts[c + 1])]


def clip_batches(lengths: Sequence[int], streams: int) -> list[list[int]]:
    """Return the frame indices of clips that are streamed in parallel, a batch for each step.

    A batch has one frame of each; when a clip ends, the next one takes its place.

    Raises:
        ValueError: Fewer than one stream.
    """
    if streams < 1:
        raise ValueError(f"streams is {streams}; at least one clip is streamed at a time")
    starts = np.cumsum([0, *lengths]).tolist()
    waiting = deque(deque(range(*span)) for span in itertools.pairwise(starts))
    active: list[deque[int]] = []
    batches = []
    while active or waiting:
        while waiting and len(active) < streams:
            active.append(waiting.popleft())
        batches.append([clip.popleft() for clip in active])
        active = [clip for clip in active if clip]
    return batches
