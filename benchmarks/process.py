"""What a process takes: memory, and packages on the disk. Does not load PyTorch."""

import resource
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

MEBIBYTE = 2**20
STATUS = Path("/proc/self/status")


def peak_mib() -> float:
    """Return the largest memory in MiB of this process."""
    if STATUS.exists():
        # Not ru_maxrss: Linux hands it from the parent down to a process that it starts.
        line = next(s for s in STATUS.read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE


def packages_mib() -> float:
    """Return the size in MiB, on the disk, of the packages that this process has loaded."""
    owners = packages_distributions()
    loaded = {name.partition(".")[0] for name in sys.modules}
    names = {owner for module in loaded for owner in owners.get(module, ())}
    files = [Path(str(f.locate())) for name in names for f in distribution(name).files or ()]
    return sum(file.stat().st_size for file in files if file.is_file()) / MEBIBYTE
