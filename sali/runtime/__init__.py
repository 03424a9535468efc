"""Exported networks on onnxruntime or OpenVINO, without PyTorch."""

from sali.runtime.segmenter import Segmenter

__all__ = ["Segmenter"]
