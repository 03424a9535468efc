"""What comes with the package: weights, found by name, and a clip."""

import os
from pathlib import Path

from sali.errors import WeightsError

FOLDER = Path(__file__).parents[1] / "weights"
SAMPLE = Path(__file__).parents[1] / "sample"
"""Real clip with its masks, in the layout of a SUN-SEG subset."""


def is_sample(source: str | Path) -> bool:
    """Return whether a source means the shipped clip, and not a file or folder of that name."""
    return str(source) == SAMPLE.name and not Path(source).exists()


def shipped() -> dict[str, Path]:
    """Return the files of the shipped weights by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def find_checkpoint(name: str | Path) -> Path:
    """Return the file of a checkpoint.

    Args:
        name: Path of a file, or the name of shipped weights.

    Raises:
        WeightsError: Neither.
    """
    path = Path(name)
    if os.path.isfile(path):  # Path.is_file raises where a name is too long
        return path
    found = shipped()
    if str(name) not in found:
        raise WeightsError(
            f"ckpt: no checkpoint at {name}; give a .ckpt, .pth or .safetensors file, or shipped "
            f"weights by name ({', '.join(found) or 'none'})"
        )
    return found[str(name)]
