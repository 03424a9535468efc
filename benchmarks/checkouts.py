"""Frames and training steps of another checkout and of this one, in alternating blocks.

Each checkout runs in a process of its own with its own code, `benchmarks` included; one of them
computes at a time.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.frames import as_step, over
from benchmarks.setup import Setup, Variant
from benchmarks.timing import Table, summarize, time_interleaved
from benchmarks.training import Options, make_step
from sali.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
FRAME, STEP = "whole frame", "training step"
BASELINE, HERE = "baseline", "here"


def measure_checkouts(
    setup: Setup,
    variant: Variant,
    training: Options,
    way: Options,
    baseline: Path,
    blocks: int,
    frames: int,
    steps: int,
    warmup: int,
) -> dict[str, Table]:
    """Time blocks of frames, with a full memory, and of training steps; medians are compared.

    Both checkouts must know the model node of the setup.

    Raises:
        ConfigError: A folder without this benchmark, or one that refuses the settings.
    """
    settings = json.dumps([asdict(setup), asdict(variant), training, way])
    checkouts = {BASELINE: _Checkout(baseline, settings), HERE: _Checkout(ROOT, settings)}
    medians: dict[str, dict[str, list[float]]] = {
        name: {who: [] for who in checkouts} for name in (FRAME, STEP)
    }
    try:
        for block in range(blocks):
            order = [BASELINE, HERE] if block % 2 == 0 else [HERE, BASELINE]
            for name, rounds in ((FRAME, frames), (STEP, steps)):
                for who in order:
                    times = checkouts[who].ask(json.dumps([name, rounds, warmup]))
                    medians[name][who].append(float(np.median(times)))
    finally:
        for checkout in checkouts.values():
            checkout.process.kill()
            checkout.process.wait()
    return {name: summarize(own, (BASELINE,)) for name, own in medians.items()}


class _Checkout:
    """A process that answers lines, see `serve`."""

    def __init__(self, root: Path, settings: str) -> None:
        if not (root / "benchmarks/checkouts.py").is_file():
            raise ConfigError(f"baseline: got {root}, wanted a checkout with benchmarks/ in it")
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from benchmarks.checkouts import serve; serve()"],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root.resolve())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask(settings)

    def ask(self, line: str) -> list[float]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise ConfigError("baseline: a checkout cannot measure this, its own error is above")
        return json.loads(answer)


def serve() -> None:
    """Build what the first line of standard input says; then time what each line names.

    Every line is answered by one of JSON: milliseconds of [name, rounds, warmup].
    """
    given = json.loads(sys.stdin.readline())
    setup, variant = Setup(**given[0]), Variant(**given[1])
    device = setup.start()
    frames, _, network, elements = setup.scene()
    stream = setup.full_stream(setup.prepare(network, variant), variant, elements)
    calls = {FRAME: over(frames, as_step(stream)), STEP: make_step(setup, given[2], given[3])}
    sys.stdout.write("[]\n")
    sys.stdout.flush()
    for line in sys.stdin:
        name, rounds, warmup = json.loads(line)
        times = time_interleaved({name: calls[name]}, rounds, warmup, device)[name]
        sys.stdout.write(json.dumps(times) + "\n")
        sys.stdout.flush()
