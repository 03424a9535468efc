"""Segmentation of video frame by frame."""

from sali.streaming.clip_runner import ClipRunner
from sali.streaming.prepare import prepare_network
from sali.streaming.segmenter import StreamSegmenter, step_streams

__all__ = ["ClipRunner", "StreamSegmenter", "prepare_network", "step_streams"]
