"""Operators in C++ for CPUs: built once per kind of machine, cached, registered with PyTorch."""

from sali.ops.native.build import available

__all__ = ["available"]
