"""Put the network of a checkpoint into the package, in half precision.

python scripts/ship_weights.py outputs/polypgen/.../checkpoints/last.ckpt polypgen_lite0

The model card `sali/weights/<name>.md` is written by hand.
"""

import argparse
from pathlib import Path
from typing import Any

from sali.errors import WeightsError
from sali.models.checkpoint import PREFIX, read_checkpoint
from sali.models.shipped import FOLDER
from sali.models.weights import read_file, save_safetensors


def save_half(ckpt: Path, path: Path) -> None:
    """Write the network of a checkpoint in half precision, with what it says about itself.

    Args:
        ckpt: Checkpoint of a training.
        path: File to write, `.safetensors`.

    Raises:
        WeightsError: Not a checkpoint of a training, or values that half precision cannot hold.
    """
    checkpoint = read_checkpoint(ckpt)
    about: dict[str, Any] | None = read_file(ckpt).get("sali")
    if about is None:
        raise WeightsError(f"{ckpt} is not a checkpoint of sali.train")
    state = {}
    for name, tensor in checkpoint.state.items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if not half.isfinite().all():
            raise WeightsError(f"{ckpt}: {name} has values that half precision cannot hold")
        state[PREFIX + name] = half
    save_safetensors(path, state, about)


def main() -> None:
    """Write `sali/weights/<name>.safetensors`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ckpt", type=Path)
    parser.add_argument("name")
    given = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    save_half(given.ckpt, FOLDER / f"{given.name}.safetensors")


if __name__ == "__main__":
    main()
