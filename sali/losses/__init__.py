"""Losses as plain functions."""

from sali.losses.structure import StructureLoss, boundary_weight, structure_loss

__all__ = ["StructureLoss", "boundary_weight", "structure_loss"]
