"""Parts of a network that a training leaves as they are."""

from collections.abc import Sequence

import lightning as L
from torch import nn

from sali.errors import ConfigError


class Freeze(L.Callback):
    """Keep parts of the network as an earlier stage left them, statistics of batch norms included.

    Args:
        modules: Names of parts of the network, with dots for parts of parts.

    Raises:
        ConfigError: No part of this name, when the training starts.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = tuple(modules)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        network = _network(pl_module)
        for name in self.modules if stage == "fit" else ():
            try:
                network.get_submodule(name).requires_grad_(False)
            except AttributeError as error:
                known = ", ".join(name for name, _ in network.named_children())
                raise ConfigError(
                    f"callbacks.freeze.modules: got {name}, wanted parts of the network ({known})"
                ) from error

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name in self.modules:
            _network(pl_module).get_submodule(name).eval()


def _network(task: L.LightningModule) -> nn.Module:
    assert isinstance(task.network, nn.Module)
    return task.network
