"""From sources of frames to what is written of them.

from sali.prediction import Options, index_source, predict
from sali.prediction.writers.pictures import map_pictures

writers = [map_pictures(Path("maps"), "probability")]
network = prepare_network(network.cuda(), settings["image_size"])
predict(index_source("clips", 36_000_000), network, settings, writers, Options())
"""

from sali.prediction.loop import Options, predict, segment
from sali.prediction.result import ClipWriter, Result, Writer, write_manifest
from sali.prediction.sources import FileSource, Source, index_source, load, protect_source

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
    "protect_source",
    "segment",
    "write_manifest",
]
