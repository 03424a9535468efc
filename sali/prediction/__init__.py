"""From a source to what is written of it."""

from sali.prediction.result import Result, Resumable, Writer
from sali.prediction.sources import Recorded, Source, index_source, load, protect_source

__all__ = [
    "Recorded",
    "Result",
    "Resumable",
    "Source",
    "Writer",
    "index_source",
    "load",
    "protect_source",
]
