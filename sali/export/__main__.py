"""A trained network as a bundle that runs on onnxruntime or OpenVINO, without PyTorch.

python -m sali.export ckpt=best.ckpt output=bundle
python -m sali.export ckpt=best.ckpt output=bundle format=openvino precision=16
"""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from sali.cli import command
from sali.config import check_config
from sali.errors import ConfigError
from sali.models.shipped import SAMPLE, find_checkpoint, is_sample

if TYPE_CHECKING:
    from sali.export.quantise import Calibration

log = logging.getLogger(__name__)

FORMATS = ("onnx", "openvino")
PRECISIONS = ("32", "16", "int8")
NO_CARD = "No model card lay beside the checkpoint. Research software, not a medical device."


def export(cfg: DictConfig) -> None:
    """Write the bundle of a checkpoint.

    Raises:
        UserError: Anything that does not fit.
    """
    check_config(cfg, "export")
    output, precision = Path(os.path.abspath(str(cfg.output))), str(cfg.precision)
    checkpoint = find_checkpoint(cfg.ckpt)
    if cfg.format not in FORMATS:
        raise ConfigError(f"format: got {cfg.format!r}, wanted one of {FORMATS}")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: got {precision!r}, wanted one of {PRECISIONS}")
    calibration = _calibration(cfg) if precision == "int8" else None
    if output.exists():
        raise ConfigError(f"output: {output} exists; give another folder, or remove it")

    from sali.build import prediction_settings
    from sali.export.write import export_network
    from sali.models.checkpoint import load_network

    network, trained = load_network(checkpoint, trust=list(cfg.trust))
    settings = prediction_settings(cfg, trained, network)
    if "operating_point" in trained:
        settings["operating_point"] = trained["operating_point"]
    side = settings["image_size"]
    try:
        network.check_image_size(side)
        network.start(**settings["video"])
    except ValueError as error:
        raise ConfigError(str(error)) from error
    card = _card(cfg, checkpoint)
    export_network(network, settings, output, cfg.format, precision, card, calibration)
    log.info("written: %s", output)


def _calibration(cfg: DictConfig) -> "Calibration":
    """Return how int8 is made.

    Raises:
        UserError: There are no frames, or no numbers of layers.
    """
    from sali.data.frames import read_frame
    from sali.data.index import index_source
    from sali.export.quantise import Calibration

    layers = list(cfg.int8.float_layers)
    if not layers:
        raise ConfigError("int8.float_layers: got an empty list, wanted whole numbers of 0 or more")
    source = SAMPLE if is_sample(cfg.calibration) else Path(cfg.calibration)
    files = [file for clip in index_source(source) for file in clip.frames]
    if not files:
        raise ConfigError(f"calibration: no frames in {cfg.calibration}")
    step = max(1, -(-len(files) // cfg.calibration_frames))
    frames = [read_frame(file)[0] for file in files[::step]]
    return Calibration(frames, layers, cfg.int8.min_dice)


def _card(cfg: DictConfig, checkpoint: Path) -> dict[str, Any]:
    beside = checkpoint.with_suffix(".md")
    text = beside.read_text(encoding="utf-8") if beside.is_file() else NO_CARD
    return {"checkpoint": checkpoint.name, "licence": cfg.licence, "model_card": text}


@command("export")
def main(cfg: DictConfig) -> None:
    """Hydra's shell around `export`."""
    export(cfg)


if __name__ == "__main__":
    main()
