"""From a network to the folder of a bundle."""

import logging
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sali import __version__
from sali.data.samples import IMAGENET_MEAN, IMAGENET_STD
from sali.errors import ConfigError
from sali.export.graphs import Graph, flattened, graphs_of
from sali.export.quantise import Calibration, quantise
from sali.models.contract import VideoSegmenter
from sali.run.io import atomic_write
from sali.runtime.bundle import FORMAT, write_about
from sali.runtime.engines import ENGINES, installed
from sali.streaming import prepare_network

log = logging.getLogger(__name__)

PACKAGES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
"""Format -> packages whose versions are named in a bundle."""
TOLERANCES = {"32": 1e-3, "16": 0.1, "int8": 1e-3}
"""Precision -> mean difference of a graph's results over their mean size; rounding makes less. Of
int8 the graphs are checked before they are quantised."""
HALF_FROM = 1024
"""Numbers from which on a constant is stored in half precision; fewer are not worth it."""


def export_network(
    network: VideoSegmenter,
    settings: Mapping[str, Any],
    output: Path,
    file_format: str,
    precision: str,
    card: Mapping[str, Any],
    calibration: Calibration | None = None,
) -> None:
    """Write a bundle.

    Args:
        network: Trained network, which is changed.
        settings: How it is run, see `sali.build.prediction_settings`; may hold "operating_point".
        output: Folder that does not exist yet; it appears whole or not at all.
        file_format: "onnx" or "openvino".
        precision: "32"; "16", the weights are stored in half precision; or "int8", the encoder is
            quantised as `calibration` says.
        card: What `bundle.json` also says.
        calibration: Of int8.

    Raises:
        ConfigError: A network that cannot be exported, or a package that is not installed.
    """
    for package in ("onnx", "onnxscript", *PACKAGES[file_format]):
        installed(package, f"format={file_format}")
    side = settings["image_size"]
    parts = graphs_of(prepare_network(network.cpu(), side), side)
    with atomic_write(output) as folder:
        folder.mkdir()
        files = {}
        for name, graph in parts.graphs.items():
            log.info("exporting graph %s", name)
            file = folder / f"{name}.onnx"
            write_onnx(graph, file)
            if file_format == "openvino":
                file = to_openvino(file, precision)
            elif precision == "16":
                halve_constants(file)
            check_graph(name, graph, file, file_format, precision)
            files[name] = file.name
        about = {
            "format": FORMAT,
            "sali": __version__,
            "engine": file_format,
            "precision": precision,
            "graphs": files,
            "state": parts.state,
            "options": parts.options,
            "settings": dict(settings),
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "versions": {
                "torch": str(torch.__version__),
                **{name: version(name) for name in PACKAGES[file_format]},
            },
            **card,
        }
        write_about(folder, about)
        if calibration is not None:
            about["int8"] = quantise(folder, about, calibration)
            write_about(folder, about)


def write_onnx(graph: Graph, file: Path) -> None:
    """Trace a graph with `torch.export` and write it as ONNX."""
    inputs = iter(graph.inputs)

    def axes() -> dict[int, Any] | None:
        name = next(inputs)
        axis = graph.dynamic.get(name)
        return None if axis is None else {axis: torch.export.Dim.DYNAMIC}

    dynamic = tuple(
        [axes() for _ in argument] if isinstance(argument, list) else axes()
        for argument in graph.arguments
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        for chatty in ("onnx_ir", "onnxscript"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        traced = torch.export.export(graph.module, graph.arguments, dynamic_shapes=dynamic)
        program = torch.onnx.export(
            traced,
            input_names=graph.inputs,
            output_names=graph.outputs,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(file), external_data=False)


def check_graph(name: str, graph: Graph, file: Path, engine: str, precision: str) -> None:
    """Refuse an exported graph whose results are not those of its module.

    Raises:
        ConfigError: They differ by more than rounding.
    """
    inputs = [x.numpy() for x in flattened(graph.arguments)]
    results = ENGINES[engine](file, "32", None)(dict(zip(graph.inputs, inputs, strict=True)))
    with torch.no_grad():
        expected = flattened(graph.module(*graph.arguments))
    for output, got, wanted in zip(graph.outputs, results, expected, strict=True):
        # Means: of elements that are equally near, rounding decides which one a query reads.
        size = float(wanted.abs().mean())
        difference = float(np.abs(got - wanted.numpy()).mean())
        if not difference <= TOLERANCES[precision] * size:
            raise ConfigError(
                f"graph {name}: {output} differs by {difference:.3g} from the network's, whose "
                f"numbers are {size:.3g} on average; this network cannot be exported"
            )


def to_openvino(file: Path, precision: str) -> Path:
    """Replace an ONNX file by OpenVINO's two files, and return the `.xml`."""
    openvino = installed("openvino", "format=openvino")
    # Not `convert_model`, which takes a comma in a path for a separator.
    model = openvino.Core().read_model(str(file))
    converted = file.with_suffix(".xml")
    openvino.save_model(model, str(converted), compress_to_fp16=precision == "16")
    file.unlink()
    return converted


def halve_constants(file: Path) -> None:
    """Store the large float32 constants of an ONNX file in half precision, behind a cast."""
    onnx = installed("onnx", "format=onnx")
    model = onnx.load(str(file))
    graph = model.graph
    casts = []
    for constant in graph.initializer:
        values = onnx.numpy_helper.to_array(constant)
        if values.dtype != np.float32 or values.size < HALF_FROM:
            continue
        name = constant.name
        constant.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(
            onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(file))
