"""The encoder of a bundle in 8 bits, by post-training quantisation (NNCF)."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from sali.data.frames import resize_frame
from sali.metrics.operating_point import OperatingPoint
from sali.runtime.bundle import Bundle, write_about
from sali.runtime.engines import installed
from sali.runtime.segmenter import Segmenter

log = logging.getLogger(__name__)

WITH_WEIGHTS = {"Conv", "Convolution", "GroupConvolution", "Gemm", "MatMul"}
"""Kinds of layers that are quantised, as ONNX and OpenVINO call them."""


class Calibration(NamedTuple):
    """How an encoder is quantised.

    The first layers of small encoders lose most in 8 bits, so some stay in floating point: as few
    as are enough.

    Attributes:
        frames: Frames of one clip, RGB uint8 [H, W, 3], that ranges are taken from.
        float_layers: Numbers of first layers to try, from few to many.
        min_dice: Agreement of the masks of `frames` with those of float32 that is enough, 0..1.
    """

    frames: Sequence[np.ndarray]
    float_layers: Sequence[int]
    min_dice: float


def quantise(folder: Path, about: Mapping[str, Any], calibration: Calibration) -> dict[str, Any]:
    """Quantise the encoder of a bundle in place, and return what that changed.

    Args:
        folder: Bundle in float32.
        about: Its description, whose operating point decides what a mask is.
        calibration: Frames, and which layers may stay in floating point.

    Raises:
        ConfigError: NNCF is not installed.
    """
    frames = calibration.frames
    point = about["settings"].get("operating_point", {})
    names = [one.name for one in fields(OperatingPoint) if one.name in point]
    operating_point = OperatingPoint(**{name: point[name] for name in names})
    with TemporaryDirectory() as scratch:
        source = Path(shutil.copytree(folder, Path(scratch) / "float32"))
        expected = _results(source, frames)
        for number in calibration.float_layers:
            kept = _quantise_encoder(source, folder, frames, number)
            write_about(folder, about)
            change = _agreement(_results(folder, frames), expected, operating_point)
            log.info("int8 against float32: %s", change)
            if change["dice"] >= calibration.min_dice:
                break
        else:
            log.warning(
                "int8: the masks of the calibration frames agree with float32 by a Dice of %.4f, "
                "less than min_dice=%s, with %d layers in floating point; compare on your own data",
                change["dice"],
                calibration.min_dice,
                len(kept),
            )
    return {
        "calibration_frames": len(frames),
        "float_layers": kept,
        "against_float32": change,
    }


def _quantise_encoder(
    source: Path, target: Path, frames: Sequence[np.ndarray], float_layers: int
) -> list[str]:
    """Replace the encoder of one bundle by that of another in 8 bits; checksums stay as they were.

    The step stays in floating point: offsets in pixels, similarities of keys and logits lose too
    much in 8 bits, and most of the work of convolutions is in the encoder.

    Args:
        source: Bundle in float32.
        target: Copy of it, whose encoder is replaced.
        frames: Frames that ranges are taken from, RGB uint8 [H, W, 3].
        float_layers: Number of the first layers with weights that stay in floating point.

    Returns:
        Names of those layers.

    Raises:
        ConfigError: NNCF is not installed.
    """
    nncf = installed("nncf", "precision=int8")
    # It lists every layer, and that there is no compiler of CUDA code. Its own `set_log_level`
    # would change the handlers of others.
    for chatty in ("nncf", "torch.utils.cpp_extension"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    bundle = Bundle(source)
    inputs = [
        {"images": bundle.normalise(resize_frame(frame, bundle.image_size))[None]}
        for frame in frames
    ]
    name = bundle.about["graphs"]["encode"]
    is_openvino = bundle.about["engine"] == "openvino"
    if is_openvino:
        openvino = installed("openvino", "format=openvino")
        model = openvino.Core().read_model(str(source / name))
        nodes = [(op.get_type_name(), op.get_friendly_name()) for op in model.get_ordered_ops()]
    else:
        onnx = installed("onnx", "format=onnx")
        model = onnx.load(str(source / name))
        nodes = [(node.op_type, node.name) for node in model.graph.node]
    kept = [node for kind, node in nodes if kind in WITH_WEIGHTS][:float_layers]
    log.info("quantising the encoder on %d frames, %d layers in float", len(inputs), len(kept))
    quantised = nncf.quantize(
        model,
        nncf.Dataset(inputs),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(names=kept) if kept else None,
    )
    for old in target.glob(f"{Path(name).stem}.*"):
        old.unlink()
    if is_openvino:
        openvino.save_model(quantised, str(target / name), compress_to_fp16=False)
    else:
        onnx.save(quantised, str(target / name))
    return kept


def _agreement(
    results: Sequence[np.ndarray], expected: Sequence[np.ndarray], point: OperatingPoint
) -> dict[str, float]:
    """Return how results differ from those of float32.

    Args:
        results: Probabilities [H, W] of frames.
        expected: Those of float32.
        point: Which pixels are polyp.

    Returns:
        "grey_levels": mean difference of maps 0..255; "dice": of the masks of all frames together,
        1 where both are empty.
    """
    pairs = list(zip(results, expected, strict=True))
    grey = float(np.mean([np.abs(a - b).mean() for a, b in pairs])) * 255
    masks = [(point.mask(a), point.mask(b)) for a, b in pairs]
    both = sum(int((a & b).sum()) for a, b in masks)
    total = sum(int(a.sum()) + int(b.sum()) for a, b in masks)
    return {"grey_levels": round(grey, 3), "dice": round(2 * both / total, 4) if total else 1.0}


def _results(folder: Path, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the probabilities [H, W] of frames of one clip by a bundle."""
    segmenter = Segmenter(folder)
    results = [segmenter.step(frame) for frame in frames] + [segmenter.flush()]
    return [x for x in results if x is not None]
