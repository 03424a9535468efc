"""Weights that come with the package: found by name, kept in half precision as safetensors."""

import json
from pathlib import Path
from typing import Any

from sali.errors import WeightsError
from sali.models.checkpoint import PREFIX, read_checkpoint

FOLDER = Path(__file__).parents[1] / "weights"


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
    if path.is_file():
        return path
    found = shipped()
    if str(name) not in found:
        raise WeightsError(
            f"no checkpoint at {name}: give the path of a .ckpt, .pth or .safetensors file, or the "
            f"name of shipped weights ({', '.join(found) or 'none'})"
        )
    return found[str(name)]


def save_half(ckpt: Path, path: Path) -> None:
    """Write the network of a checkpoint in half precision, with what it says about itself.

    Args:
        ckpt: Checkpoint of a training.
        path: File to write, `.safetensors`.

    Raises:
        WeightsError: Not a checkpoint of a training, or values that half precision cannot hold.
    """
    from safetensors.torch import save_file

    from sali.models.weights import read_file

    checkpoint = read_checkpoint(ckpt)
    about: dict[str, Any] | None = read_file(ckpt).get("sali")
    if about is None:
        raise WeightsError(f"{ckpt} is not a checkpoint of sali.train")
    state = {}
    for name, tensor in checkpoint.state.items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if not half.isfinite().all():
            raise WeightsError(f"{ckpt}: {name} has values that half precision cannot hold")
        state[PREFIX + name] = half.contiguous()
    save_file(state, path, metadata={"sali": json.dumps(about)})
