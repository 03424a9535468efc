"""The SALI network and its memory bank. Plain PyTorch: no Lightning, no Hydra."""

from sali.models.sali.alignment import ShortTermAlignment
from sali.models.sali.bank import MemoryBank
from sali.models.sali.memory import LongTermInteraction
from sali.models.sali.network import SALI

__all__ = ["SALI", "LongTermInteraction", "MemoryBank", "ShortTermAlignment"]
