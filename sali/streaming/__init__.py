"""Segmentation of video frame by frame."""

from sali.models.sali.bank import MemoryBank
from sali.streaming.clip_runner import ClipRunner
from sali.streaming.memory_use import LevelUse, use_of_frames
from sali.streaming.prepare import prepare_network
from sali.streaming.segmenter import StreamSegmenter, step_streams

__all__ = [
    "ClipRunner",
    "LevelUse",
    "MemoryBank",
    "StreamSegmenter",
    "prepare_network",
    "step_streams",
    "use_of_frames",
]
