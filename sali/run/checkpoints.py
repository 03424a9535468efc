"""Checkpoint files: never half of one on disk, and the last but one is kept."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from sali.errors import WeightsError
from sali.run.io import atomic_write
from sali.run.state import LAST, PREVIOUS


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint files by atomic writes; `last.ckpt` becomes `last.previous.ckpt` first.

    Lightning writes to the system's temporary folder, from where a file is copied, not renamed, to
    another disk: a kill in the meantime leaves half of it.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        target = Path(path)
        for left in target.parent.glob(f".{target.name}.*.partial"):  # of a process that was killed
            left.unlink()
        with atomic_write(target, sync=True) as partial:
            try:
                with partial.open("wb") as file:  # a path's name would be written into the file
                    torch.save(checkpoint, file)
            except RuntimeError as error:  # PyTorch closes its archive after what matters
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
            if target.name == LAST and target.exists():
                target.replace(target.with_name(PREVIOUS))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint as Lightning does.

        Raises:
            WeightsError: The file cannot be read; the message names the one before it.
        """
        try:
            return super().load_checkpoint(path, map_location, weights_only)
        except Exception as error:  # torch raises many types for a broken file
            previous = Path(path).with_name(PREVIOUS)
            rest = (
                f"the one before it is there: ckpt_path={previous}"
                if previous.is_file() and previous != Path(path)
                else "there is none before it: start again with ckpt_path=null"
            )
            raise WeightsError(
                f"checkpoint {path} cannot be read, it may be truncated "
                f"({type(error).__name__}); {rest}"
            ) from error
