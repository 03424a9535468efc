"""Scores of segmentation maps: the VPS protocol of the field and a clinical protocol.

Plain functions on arrays (`vps`, `clinical`, `frame_metric`, `frame_quality`, `bootstrap`); the
one torchmetrics class (`fixed_threshold`) keeps the sums of a validation over processes.
"""
