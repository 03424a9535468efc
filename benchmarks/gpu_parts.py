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
from sali.models.sali.alignment import ShortTermAlignment
from sali.models.sali.bank import MemoryBank
from sali.models.sali.fusion import Fusion
from sali.ops import deform_conv, memory_read
from sali.ops.read import MAX_BYTES
from sali.streaming import StreamSegmenter

Figures = dict[str, float]
Check = Callable[[], Figures]
Values = Mapping[str, Any]


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
def number_format(device: torch.device, name: str) -> Iterator[str]:
    """Compute float32 products in full or, for "tf32", shortened; gives a segmenter's precision."""
    if name == "tf32" and device.type != "cuda":
        raise SkippedError("TF32 is a format of NVIDIA GPUs")
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise SkippedError("this GPU has no bfloat16")
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = name == "tf32"
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        yield "32" if name == "tf32" else name
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def relative(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference over the largest expected number."""
    pairs = [
        (a.detach().float().cpu(), b.detach().float().cpu())
        for a, b in zip(found, expected, strict=True)
    ]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def each(setup: Setup, values: Values, name: str, check: Callable[..., Figures]) -> dict[str, Any]:
    """Return a check for every precision."""
    return {f"{name}, {p}": partial(check, setup, values, p) for p in values["precisions"]}


def part_checks(setup: Setup, values: Values) -> dict[str, Check]:
    """Alignment, fusion and memory bank against the released code's numbers."""
    golden = dict(np.load(GOLDEN / "modules.npz"))

    def levels(name: str) -> list[Tensor]:
        return [torch.from_numpy(golden[f"{name}_{i}"]).to(setup.device) for i in range(3)]

    def alignment() -> tuple[list[Tensor], str]:
        part = fill_part(ShortTermAlignment(32, 8, "auto"), "pcd_align.", "short_term.")
        return part.to(setup.device)(levels("align_neighbour"), levels("align_reference")), "align"

    def fusion() -> tuple[list[Tensor], str]:
        part = fill_part(Fusion(32, residual=False), "nlnet.", "fusion.").to(setup.device)
        return part(levels("fuse_a"), levels("fuse_b"), current=levels("fuse_a")), "fuse"

    def against_golden(part: Callable[[], Any], _: Setup, values: Values, name: str) -> Figures:
        device = setup.start()
        with number_format(device, name) as own, torch.no_grad(), autocast(device, own):
            found, kind = part()
        figures = {"difference": relative(found, levels(f"{kind}_out"))}
        return within(figures, "difference", values["parts"]["bounds"][name])

    def bank() -> Figures:
        own = {n.removeprefix("cap35_"): x for n, x in golden.items() if n.startswith("cap35_")}
        memory = MemoryBank(35, int(own["every"]), "released")
        with number_format(setup.start(), "32"):
            steps = list(replay_bank(own, memory, setup.device))
        found = torch.from_numpy(np.stack([step.read for step in steps]))
        figures = {"difference": relative([found], [torch.from_numpy(own["readout"])])}
        if [step.sizes for step in steps] != own["sizes"].tolist():
            raise CheckError("other elements were evicted than by the released code", figures)
        return within(figures, "difference", values["parts"]["bounds"]["32"])

    return {
        **each(setup, values, "part: alignment", partial(against_golden, alignment)),
        **each(setup, values, "part: fusion", partial(against_golden, fusion)),
        "part: memory bank, 32": bank,
    }


def stream_checks(setup: Setup, values: Values) -> dict[str, Check]:
    """Stream of B5 against the released code's probabilities."""

    def check(_: Setup, values: Values, name: str) -> Figures:
        device = setup.start()
        golden = np.load(GOLDEN / "network_pvt_v2_b5_256.npz")
        with tempfile.TemporaryDirectory() as folder:
            torch.save(released_state(), Path(folder) / "released.pth")
            network = load_network(Path(folder) / "released.pth")[0]
        count = min(values["stream"]["frames"], int(golden["clip_lengths"][0]))
        with number_format(device, name) as own:
            segmenter = StreamSegmenter(
                network.eval().to(device),
                256,
                own,
                max_frames=int(golden["mem_len"]),
                every=int(golden["mem_freq"]),
                eviction="released",
                neighbor="next",
            )
            # One frame more than are compared, if there is one: the network looks ahead.
            given = golden["frames"][: min(count + 1, int(golden["clip_lengths"][0]))]
            maps = [segmenter.step(frame) for frame in given][1:]
            if len(maps) < count:
                maps.append(segmenter.flush())
        expected = 1 / (1 + np.exp(-golden["final_logits"][:count]))
        gap = np.abs(np.stack([p[::4, ::4] for p in maps if p is not None]) - expected)
        figures = {"mean difference": float(gap.mean()), "largest": float(gap.max())}
        return within(figures, "mean difference", values["stream"]["bounds"][name])

    return each(setup, values, "stream: released B5", check)


def read_checks(setup: Setup, values: Values) -> dict[str, Check]:
    """Memory read and its gradients on the device against the CPU's."""
    options = values["read"]

    def check() -> Figures:
        device = setup.start()
        positions, top_k = options["positions"], options["top_k"]
        cpu = [
            torch.randn(1, channels, count, requires_grad=True)
            for channels, count in (
                (4, positions),
                (4, positions * options["frames"]),
                (16, positions * options["frames"]),
            )
        ]
        own = [tensor.detach().to(device).requires_grad_() for tensor in cpu]

        def read_and_gradients(tensors: list[Tensor]) -> list[Tensor]:
            query, key, value = tensors
            readout, usage = memory_read(query, key, value, top_k)
            return [readout.detach(), usage, *torch.autograd.grad(readout.sum(), tensors)]

        with number_format(device, "32"):
            expected, _, *expected_gradients = read_and_gradients(cpu)
            found, usage, *gradients = read_and_gradients(own)
            memory = peak_of(partial(read_and_gradients, own), 1, device)
            read = partial(memory_read, own[0], own[1], own[2], top_k)
            times = time_interleaved({"": read}, options["rounds"], 0, device)[""]
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

    return {"memory read against the CPU, 32": check}


def alignment_checks(setup: Setup, values: Values) -> dict[str, Check]:
    """Deformable convolution and its gradients on the device against the CPU's."""
    side, tolerance = values["alignment"]["side"], values["alignment"]["tolerance"]

    def check(kernel: str) -> Figures:
        device = setup.start()
        cpu = [
            torch.randn(2, 32, side, side),
            2 * torch.randn(2, 8 * 9 * 2, side, side),
            torch.rand(2, 8 * 9, side, side),
            torch.randn(32, 32, 3, 3) / 17,
            torch.randn(32),
        ]

        def run(tensors: list[Tensor], where: torch.device, name: str) -> list[Tensor]:
            leaves = [t.to(where, copy=True).requires_grad_() for t in tensors]
            x, offset, modulation, weight, bias = leaves
            out = deform_conv(x, offset, modulation, weight, bias, kernel=name)
            return [out, *torch.autograd.grad(out.square().mean(), leaves)]

        with number_format(device, "32"):
            found = run(cpu, device, kernel)
            expected = run(cpu, torch.device("cpu"), "grid_sample")
        figures = {"difference": relative(found, expected)}
        return within(figures, "difference", tolerance)

    return {
        f"alignment against the CPU, 32, {k}": partial(check, k) for k in ("auto", "grid_sample")
    }
