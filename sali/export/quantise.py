"""The encoder of a bundle in 8 bits, by post-training quantisation (NNCF)."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sali.data.frames import resize_frame
from sali.metrics.operating_point import OperatingPoint
from sali.runtime.bundle import Bundle
from sali.runtime.engines import installed
from sali.runtime.segmenter import Segmenter

log = logging.getLogger(__name__)


def quantise_encoder(folder: Path, frames: Sequence[np.ndarray]) -> None:
    """Quantise the encoder of a bundle in place; the checksums must be written again.

    The step stays in floating point: offsets in pixels, similarities of keys and logits lose too
    much in 8 bits, and most of the work of convolutions is in the encoder.

    Args:
        folder: Bundle in float32.
        frames: Frames that ranges are taken from, RGB uint8 [H, W, 3].

    Raises:
        ConfigError: NNCF is not installed.
    """
    nncf = installed("nncf", "precision=int8")
    bundle = Bundle(folder)
    inputs = [
        {"images": bundle.normalise(resize_frame(frame, bundle.image_size))[None]}
        for frame in frames
    ]
    file = folder / bundle.about["graphs"]["encode"]
    data, options = nncf.Dataset(inputs), {"subset_size": len(inputs)}
    log.info("quantising the encoder on %d frames", len(inputs))
    if bundle.about["engine"] == "openvino":
        openvino = installed("openvino", "format=openvino")
        quantised = nncf.quantize(openvino.Core().read_model(str(file)), data, **options)
        whole = file.with_name("quantised.xml")  # the model still reads from the files of `file`
        openvino.save_model(quantised, str(whole), compress_to_fp16=False)
        for suffix in (".xml", ".bin"):
            whole.with_suffix(suffix).replace(file.with_suffix(suffix))
    else:
        onnx = installed("onnx", "format=onnx")
        onnx.save(nncf.quantize(onnx.load(str(file)), data, **options), str(file))


def agreement(
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


def results_of(folder: Path, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the probabilities [H, W] of frames of one clip by a bundle."""
    segmenter = Segmenter(folder)
    results = [segmenter.step(frame) for frame in frames] + [segmenter.flush()]
    return [x for x in results if x is not None]
