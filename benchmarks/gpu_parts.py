"""Checks of `benchmarks.gpu_check` that compare parts: functions that return figures or raise."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.golden import GOLDEN, fill_part, released_state, replay_bank
from benchmarks.setup import Setup, autocast
from benchmarks.timing import MEBIBYTE, peak_of, time_interleaved
from sali.models.checkpoint import load_network
from sali.models.sali import MemoryBank, ShortTermAlignment
from sali.models.sali.fusion import Fusion
from sali.ops import deform_conv, memory_read
from sali.ops.read import MAX_BYTES
from sali.streaming import StreamSegmenter

Figures = dict[str, float]
Values = Mapping[str, Any]
Check = Callable[[Setup, Values, str], Figures]
"""Takes the options of its group and the name of a number format, which is in force already."""


class CheckError(Exception):
    """A check that came out wrong."""

    def __init__(self, reason: str, figures: Figures) -> None:
        super().__init__(reason)
        self.figures = figures


class SkippedError(Exception):
    """A check that cannot be made on this machine."""


def within(figures: Figures, name: str, bound: float) -> Figures:
    """Return the figures if one of them is within its bound; NaN is not."""
    if not figures[name] <= bound:
        raise CheckError(f"{name}: got {figures[name]:.3g}, wanted at most {bound:g}", figures)
    return figures


@contextmanager
def number_format(device: torch.device, name: str) -> Iterator[None]:
    """Compute float32 products in full or, for "tf32", shortened."""
    if name == "tf32" and device.type != "cuda":
        raise SkippedError("TF32 is a format of NVIDIA GPUs")
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise SkippedError("this GPU has no bfloat16")
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = name == "tf32"
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def precision_of(name: str) -> str:
    """Return the precision of a segmenter in a number format."""
    return "32" if name == "tf32" else name


def relative(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference over the largest expected number."""
    pairs = [
        (a.detach().float().cpu(), b.detach().float().cpu())
        for a, b in zip(found, expected, strict=True)
    ]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def alignment(setup: Setup, options: Values, name: str) -> Figures:
    """Alignment against the released code's numbers."""
    part = fill_part(ShortTermAlignment(32, 8, "auto"), "pcd_align.", "short_term.")
    inputs = _golden_levels(setup, "align_neighbour"), _golden_levels(setup, "align_reference")
    return _against_golden(setup, options, name, partial(part.to(setup.device), *inputs), "align")


def fusion(setup: Setup, options: Values, name: str) -> Figures:
    """Fusion against the released code's numbers."""
    part = fill_part(Fusion(32, residual=False), "nlnet.", "fusion.").to(setup.device)
    first, second = _golden_levels(setup, "fuse_a"), _golden_levels(setup, "fuse_b")
    return _against_golden(setup, options, name, partial(part, first, second, first), "fuse")


def _golden_levels(setup: Setup, name: str) -> list[Tensor]:
    golden = np.load(GOLDEN / "modules.npz")
    return [torch.from_numpy(golden[f"{name}_{i}"]).to(setup.device) for i in range(3)]


def _against_golden(
    setup: Setup, options: Values, name: str, call: Callable[[], list[Tensor]], kind: str
) -> Figures:
    with torch.no_grad(), autocast(torch.device(setup.device), precision_of(name)):
        found = call()
    figures = {"difference": relative(found, _golden_levels(setup, f"{kind}_out"))}
    return within(figures, "difference", options["bounds"][name])


def bank(setup: Setup, options: Values, name: str) -> Figures:
    """Memory bank against what the released code reads and evicts."""
    golden = dict(np.load(GOLDEN / "modules.npz"))
    own = {n.removeprefix("cap35_"): x for n, x in golden.items() if n.startswith("cap35_")}
    memory = MemoryBank(35, int(own["every"]), "released")
    reads, sizes = zip(*replay_bank(own, memory, setup.device), strict=True)
    found = torch.from_numpy(np.stack(reads))
    figures = {"difference": relative([found], [torch.from_numpy(own["readout"])])}
    if list(sizes) != own["sizes"].tolist():
        raise CheckError("other elements were evicted than by the released code", figures)
    return within(figures, "difference", options["bounds"][name])


def stream(setup: Setup, options: Values, name: str) -> Figures:
    """Stream of B5 against the released code's probabilities."""
    golden = np.load(GOLDEN / "network_pvt_v2_b5_256.npz")
    with tempfile.TemporaryDirectory() as folder:
        torch.save(released_state(), Path(folder) / "released.pth")
        network = load_network(Path(folder) / "released.pth")[0]
    segmenter = StreamSegmenter(
        network.to(setup.device),
        256,
        precision_of(name),
        max_frames=int(golden["mem_len"]),
        every=int(golden["mem_freq"]),
        eviction="released",
        neighbor="next",
    )
    length = int(golden["clip_lengths"][0])
    count = min(options["frames"], length)
    # One frame more than are compared, if there is one: the network looks ahead.
    maps = [segmenter.step(frame) for frame in golden["frames"][: min(count + 1, length)]][1:]
    if len(maps) < count:
        maps.append(segmenter.flush())
    expected = 1 / (1 + np.exp(-golden["final_logits"][:count]))
    gap = np.abs(np.stack([p[::4, ::4] for p in maps if p is not None]) - expected)
    figures = {"mean difference": float(gap.mean()), "largest": float(gap.max())}
    return within(figures, "mean difference", options["bounds"][name])


def read(setup: Setup, options: Values, name: str) -> Figures:
    """Memory read and its gradients on the device against the CPU's."""
    device = torch.device(setup.device)
    positions, top_k = options["positions"], options["top_k"]
    num_elements = positions * options["frames"]
    cpu = [
        torch.randn(1, channels, count, requires_grad=True)
        for channels, count in ((4, positions), (4, num_elements), (16, num_elements))
    ]
    own = [tensor.detach().to(device).requires_grad_() for tensor in cpu]

    def read_and_gradients(tensors: list[Tensor]) -> list[Tensor]:
        query, key, value = tensors
        readout, usage = memory_read(query, key, value, top_k)
        return [readout.detach(), usage, *torch.autograd.grad(readout.sum(), tensors)]

    expected, _, *expected_gradients = read_and_gradients(cpu)
    found, usage, *gradients = read_and_gradients(own)
    memory = peak_of(partial(read_and_gradients, own), 1, device)
    call = partial(memory_read, own[0], own[1], own[2], top_k)
    times = time_interleaved({"": call}, options["rounds"], 0, device)[""]
    tolerance, bound = options["tolerance"], options["share"]
    off = [(found.cpu() - expected).abs().amax(1) > tolerance]
    for one, other in zip(gradients, expected_gradients, strict=True):
        off.append((one.cpu() - other).abs() > tolerance)
    shares = [float(one.float().mean()) for one in off]
    figures = {
        "share of other readouts": shares[0],
        "share of other gradients": max(shares[1:]),
        "usage over queries": float(usage.sum() / positions),
        "ms": float(np.median(times)),
        "MiB held": memory["peak MiB"] - memory["before MiB"],
    }
    if device.type == "cuda":  # where the allocator counts, and where slices are what is used
        # Gradients, values row by row, and the workspace of matrix products.
        besides = 4 * sum(tensor.nbytes for tensor in own) + MAX_BYTES // 2
        within(figures, "MiB held", (MAX_BYTES + besides) / MEBIBYTE)
    within(figures, "share of other gradients", bound)
    return within(figures, "share of other readouts", bound)


def deformable(setup: Setup, options: Values, name: str, kernel: str) -> Figures:
    """Deformable convolution and its gradients on the device against the CPU's."""
    side = options["side"]
    cpu = [
        torch.randn(2, 32, side, side),
        2 * torch.randn(2, 8 * 9 * 2, side, side),
        torch.rand(2, 8 * 9, side, side),
        torch.randn(32, 32, 3, 3) / 17,
        torch.randn(32),
    ]

    def run(device: str, kernel: str) -> list[Tensor]:
        leaves = [t.to(device, copy=True).requires_grad_() for t in cpu]
        x, offset, modulation, weight, bias = leaves
        out = deform_conv(x, offset, modulation, weight, bias, kernel=kernel)
        return [out, *torch.autograd.grad(out.square().mean(), leaves)]

    figures = {"difference": relative(run(setup.device, kernel), run("cpu", "grid_sample"))}
    return within(figures, "difference", options["tolerance"])
