"""From sources of frames to what is written of them."""

from sali.prediction.loop import predict, segment
from sali.prediction.result import ClipWriter, Result, Writer, write_manifest
from sali.prediction.sources import FileSource, Options, Source, index_source, load

__all__ = [
    "ClipWriter",
    "FileSource",
    "Options",
    "Result",
    "Source",
    "Writer",
    "index_source",
    "load",
    "predict",
    "segment",
    "write_manifest",
]
