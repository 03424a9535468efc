"""What computes the graphs of a bundle."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sali.errors import ConfigError

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
"""Computes a graph: inputs by name to outputs in their order."""


def onnx(file: Path, precision: str, threads: int | None) -> Run:
    """Return a graph on onnxruntime, on a GPU where its package has one.

    Args:
        file: ONNX file.
        precision: Precision that it was exported with; it is in the file.
        threads: Processor threads; None: as onnxruntime chooses.
    """
    runtime = installed("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors
    # The graphs take turns: threads of one that wait in a loop take the processor from the other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    there = [name for name in wanted if name in runtime.get_available_providers()]
    session = runtime.InferenceSession(str(file), options, providers=there)

    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        return session.run(None, inputs)

    return run


def openvino(file: Path, precision: str, threads: int | None) -> Run:
    """Return a graph on OpenVINO, on the processor.

    Args:
        file: File that OpenVINO reads, `.xml` or `.onnx`.
        precision: Precision that it was exported with. Of "16" floating point numbers are computed
            in what the processor is fastest in, of others in float32.
        threads: Processor threads; None: as OpenVINO chooses.
    """
    runtime = installed("openvino", "openvino")
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if precision != "16":
        options["INFERENCE_PRECISION_HINT"] = "f32"
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    compiled = runtime.Core().compile_model(str(file), "CPU", options)
    request = compiled.create_infer_request()
    outputs = range(len(compiled.outputs))

    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        results = request.infer(inputs, share_inputs=True)
        return [results[i] for i in outputs]

    return run


ENGINES: dict[str, Callable[[Path, str, int | None], Run]] = {"onnx": onnx, "openvino": openvino}


def installed(package: str, engine: str) -> Any:
    """Return a module of the extra `export`.

    OpenVINO and NNCF report every import and conversion to their maker over the network. They do
    without where the package that sends is missing, so it is made to be.

    Raises:
        ConfigError: It is not installed.
    """
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"{engine} needs {package}, which is not installed: pip install 'sali[export]'"
        ) from error
