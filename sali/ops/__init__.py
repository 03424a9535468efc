"""Operators of the network: one function each, with several kernels behind it where that pays."""

from sali.ops.deform import KERNELS, deform_conv
from sali.ops.depthwise import use_fast_depthwise
from sali.ops.read import memory_read

__all__ = ["KERNELS", "deform_conv", "memory_read", "use_fast_depthwise"]
