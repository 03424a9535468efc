"""The command, see `faults`."""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

import faults
from faults.engine import Outcome, free, run_case, undisturbed
from faults.kinds import KINDS, make_inputs, missing
from faults.processes import import_all
from faults.ways import FURTHER, WAYS

WITH_FURTHER = ("train", "predict")


def main() -> int:
    """Disturb commands, and end with 1 if a case did not survive."""
    about = faults.__doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m faults", description=about)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; all by default")
    parser.add_argument("--cases", type=int, default=30, help="of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help=f"one case again: its number, or of {', '.join(FURTHER)}")
    given = parser.parse_args()
    unknown = set(given.kinds) - set(KINDS)
    if unknown:
        parser.error(f"got {', '.join(sorted(unknown))}, wanted some of {', '.join(KINDS)}")
    import_all()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # disks are to be unmounted
    scratch = Path(tempfile.mkdtemp(prefix="faults"))
    try:
        make_inputs(scratch / "inputs")
        table: dict[str, list[Outcome]] = {}
        for kind in given.kinds or KINDS:
            if lacking := missing(KINDS[kind]):
                _say(f"{kind}: skipped, {', '.join(lacking)} is not installed")
                continue
            names = [str(number) for number in range(given.cases)]
            names += FURTHER if kind in WITH_FURTHER else []
            table[kind] = _cases(kind, [given.only] if given.only else names, given.seed, scratch)
        _say("\n" + "\n".join(_lines(table)))
    finally:
        if given.only is None:
            free(scratch)
    failed = any(one.failed for own in table.values() for one in own)
    if given.only and failed:
        _say(f"kept: {scratch}")
    elif given.only:
        free(scratch)
    return int(failed)


def _cases(kind: str, names: list[str], seed: int, scratch: Path) -> list[Outcome]:
    own = scratch / kind
    whole = undisturbed(KINDS[kind], scratch / "inputs", own / "undisturbed")
    _say(f"{kind}: undisturbed {whole.before:.1f} + {whole.work:.1f} s, {whole.size / 1e6:.1f} MB")
    outcomes, began = [], time.monotonic()
    for name in names:
        one = run_case(kind, name, seed, whole, scratch / "inputs", own / name)
        outcomes.append(one)
        _say(f"{kind} {name} ({one.way}): exit code {one.code}; {time.monotonic() - began:.0f} s")
        if one.failed:
            repeat = f"python -m faults {kind} --seed {seed} --only {name}"
            _say(f"{kind} {name} ({one.way}): {one.failed}\n    {repeat}")
        if len(names) > 1 or not one.failed:
            free(own / name)
    _say(f"{kind}: {len(names)} cases in {time.monotonic() - began:.0f} s")
    return outcomes


def _lines(table: dict[str, list[Outcome]]) -> list[str]:
    """Return the table: survived of tried, by kind and way, and what was skipped."""
    ways = [*WAYS, *FURTHER]
    lines = ["survived/tried".ljust(15) + "".join(way.rjust(9) for way in ways)]
    skipped = {}
    for kind, outcomes in table.items():
        cells = []
        for way in ways:
            own = [one for one in outcomes if one.way == way]
            skipped.update((way, one.skipped) for one in own if one.skipped)
            tried = [one for one in own if not one.skipped]
            survived = sum(not one.failed for one in tried)
            cells.append(f"{survived}/{len(tried)}" if tried else "skipped" if own else "-")
        lines.append(kind.ljust(15) + "".join(cell.rjust(9) for cell in cells))
    return lines + [f"skipped {way}: {why}" for way, why in skipped.items()]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
