"""Scores of segmentation maps: the VPS protocol of the field and a clinical protocol.

Plain functions on arrays come first (`vps`, `clinical`, `frame_quality`, `bootstrap`); the
torchmetrics classes (`vps_metric`, `clinical_metric`) only keep their sums over processes.
"""
