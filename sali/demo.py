"""See the segmenter work, in a page on this machine.

python -m sali.demo ckpt=best.ckpt
python -m sali.demo ckpt=[lite0.ckpt,b5.ckpt] samples=/data/SUN-SEG/TestHardDataset/Unseen
"""

import importlib.util
import logging
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from sali.cli import command
from sali.config import check_config
from sali.errors import ConfigError

log = logging.getLogger(__name__)

MEGABYTE = 1_000_000


def demo(cfg: DictConfig) -> None:
    """Serve the page until it is stopped, then delete everything that came of it.

    Raises:
        UserError: Anything that does not fit, before the page opens.
    """
    from sali.streaming.prepare import PRECISIONS

    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("the page needs Gradio: pip install 'sali[demo]'")
    check_config(cfg, "demo")
    if str(cfg.precision) not in PRECISIONS:
        raise ConfigError(f"precision: got {cfg.precision!r}, wanted one of {[*PRECISIONS]}")
    # Readable by this user alone; Gradio holds uploads in it too.
    with tempfile.TemporaryDirectory(prefix="sali_demo_", ignore_cleanup_errors=True) as private:
        served = Path(private) / "served"  # a client may name what is in it, not the samples
        served.mkdir(mode=0o700)
        os.environ["GRADIO_TEMP_DIR"] = str(served)  # is read when Gradio is imported
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["HF_HUB_OFFLINE"] = "1"
        _serve(cfg, served, Path(private) / "samples")


def _serve(cfg: DictConfig, served: Path, drawn: Path) -> None:
    from sali.app.models import Models
    from sali.app.page import Page
    from sali.app.play import Limits
    from sali.app.server import serve
    from sali.app.session import Session, between_levels
    from sali.app.view import View
    from sali.build import operating_point, pick_device, prediction_settings
    from sali.models.contract import VideoSegmenter

    def settings_of(trained: dict[str, Any], network: VideoSegmenter) -> dict[str, Any]:
        settings = prediction_settings(cfg, trained, network)
        return {**settings, "operating_point": trained.get("operating_point")}

    given: Any = cfg.ckpt
    models = Models(
        [str(path) for path in (given if isinstance(given, ListConfig) else [given]) if path],
        settings_of,
        pick_device(cfg.device),
        list(cfg.trust),
    )
    _, settings = models.load(next(iter(models.paths)))
    point = operating_point(cfg.threshold, settings, str(cfg.precision))
    cfg = cfg.copy()
    cfg.threshold = min(0.999, round(between_levels(point.cut), 3))  # of the slider
    limits = Limits(cfg.limits.seconds, cfg.video.max_pixels)
    playing = {"meter_frames": cfg.meter_frames, "thumbnail_width": cfg.thumbnail_width}
    exporting = {"clip_rate": cfg.clip_rate, **cfg.video.overlay}

    def make_session() -> Session:
        folder = served / secrets.token_urlsafe(24)
        return Session(folder, models, limits, playing, exporting, point)

    samples = _samples(cfg, drawn)
    page = Page(models, samples, View(**cfg.display), make_session, cfg)
    max_bytes = int(cfg.limits.megabytes * MEGABYTE)
    try:
        serve(page.blocks, cfg.host, cfg.port, cfg.open_browser, max_bytes)
    finally:
        page.close()


def _samples(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Return clips that can be picked without an upload: the user's own, or ours."""
    from sali.data.index import SUBSETS, index_present
    from sali.data.synthetic import SyntheticSpec, generate
    from sali.data.video.live import Live
    from sali.models.shipped import SAMPLE
    from sali.prediction import index_source

    if cfg.samples:
        own = index_source(str(cfg.samples), cfg.video.max_pixels)
        if isinstance(own[0], Live):
            raise ConfigError(f"samples: got {cfg.samples}, which is live; wanted a folder or file")
        return {source.name: source for source in own}
    log.info("drawing sample clips; samples=DIR shows your own")
    generate(folder, SyntheticSpec(**cfg.generated))
    real = {f"PolypGen: {one.name}": one for one in index_source(str(SAMPLE), cfg.video.max_pixels)}
    return real | {
        f"drawn {clip.subset.replace('_', ', ')}: {clip.name}": clip
        for clip in index_present(folder)
        if clip.subset in SUBSETS and clip.subset != "train"
    }


@command("demo")
def main(cfg: DictConfig) -> None:
    """Run `demo` with a configuration composed by Hydra."""
    demo(cfg)


if __name__ == "__main__":
    main()
