"""From a source to what is written of it."""

from sali.prediction.result import Result, Writer
from sali.prediction.sources import Source, index_source, load, protect_source

__all__ = ["Result", "Source", "Writer", "index_source", "load", "protect_source"]
