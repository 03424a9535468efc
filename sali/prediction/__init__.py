"""From sources of frames to what is written of them.

from sali.prediction import Options, index_source, predict
from sali.prediction.writers.pictures import map_pictures

writers = [map_pictures(Path("maps"), "probability")]
network = prepare_network(network.cuda(), settings["image_size"])
predict(index_source("clips", 36_000_000), network, settings, writers, Options())
"""

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
