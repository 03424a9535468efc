"""Put the network of a checkpoint into the package, in half precision.

python scripts/ship_weights.py outputs/polypgen/.../checkpoints/last.ckpt polypgen_lite0

The model card `sali/weights/<name>.md` is written by hand.
"""

import argparse
from pathlib import Path

from sali.models.shipped import FOLDER, save_half


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
