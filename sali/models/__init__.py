"""The network and its parts. Plain PyTorch: no Lightning, no Hydra."""

from sali.models.sali.network import SALI

__all__ = ["SALI"]
