"""From sources of frames to what is written of them.

from sali.prediction import Options, index_source, predict
from sali.prediction.writers.pictures import Maps
predict(index_source("clips", 36_000_000), network, settings, [Maps("maps", "probability")],
Options(torch.device("cuda")))
"""

from sali.prediction.loop import Options, predict, segment
from sali.prediction.result import Result, Resumable, Writer
from sali.prediction.sources import FileSource, Source, index_source, load, protect_source

__all__ = [
    "FileSource",
    "Options",
    "Result",
    "Resumable",
    "Source",
    "Writer",
    "index_source",
    "load",
    "predict",
    "protect_source",
    "segment",
]
