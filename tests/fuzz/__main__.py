"""The command, see `fuzz`."""

import argparse
import sys
import tempfile
from pathlib import Path

import fuzz
from fuzz.engine import KINDS, Tally, deeds_outside, kind_of, random_of
from fuzz.engine import fuzz as run


def main() -> int:
    """Fuzz, and end with 1 if a case went wrong."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=fuzz.__doc__.split("\n")[0])
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; all by default")
    parser.add_argument("--cases", type=int, default=10_000, help="of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="number of one case to do again")
    given = parser.parse_args()
    unknown = set(given.kinds) - set(KINDS)
    if unknown:
        parser.error(f"got {', '.join(sorted(unknown))}, wanted some of {', '.join(KINDS)}")
    chosen = given.kinds or list(KINDS)
    if given.only is not None:
        return _again(chosen[0], given.seed, given.only)
    tallies: dict[str, Tally] = {}
    for name in chosen:
        found = run([name], given.cases, given.seed, _say)
        tallies |= found
        _say(_line(name, found[name]))
    _say("\n" + "\n".join(_line(name, tally) for name, tally in tallies.items()))
    return int(any(tally.wrong for tally in tallies.values()))


def _again(name: str, seed: int, number: int) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        case = kind_of(name).prepare(Path(scratch))
        with deeds_outside(Path(scratch)) as deeds:
            try:
                case(random_of(name, seed, number))
            finally:
                _say(f"done outside of its folder: {deeds or 'nothing'}")
    return 0


def _line(name: str, tally: Tally) -> str:
    return (
        f"{name:<12} tried {tally.tried}, accepted {tally.accepted}, refused {tally.refused}, "
        f"wrong {len(tally.wrong)}; {tally.seconds:.0f} s, slowest {tally.slowest:.2f} s, "
        f"{tally.memory / 2**20:.0f} MiB"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
