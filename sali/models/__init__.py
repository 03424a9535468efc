"""The network and its parts. Plain PyTorch: no Lightning, no Hydra."""

from sali.models.network import SALI

__all__ = ["SALI"]
