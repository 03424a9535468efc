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

from omegaconf import DictConfig, ListConfig, OmegaConf

from sali.cli import command
from sali.config import check_config
from sali.errors import ConfigError

log = logging.getLogger(__name__)

MEGABYTE = 1_000_000
LEAST = {"max_users": 1, "max_waiting": 1, "keep_minutes": 0.01}


def demo(cfg: DictConfig) -> None:
    """Serve the page until it is stopped, then delete everything that came of it.

    Raises:
        UserError: Anything that does not fit, before the page opens.
    """
    _check(cfg)
    # Readable by this user alone; Gradio holds uploads in it too.
    with tempfile.TemporaryDirectory(prefix="sali_demo_", ignore_cleanup_errors=True) as private:
        os.environ["GRADIO_TEMP_DIR"] = private  # is read when Gradio is imported
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["HF_HUB_OFFLINE"] = "1"
        _serve(cfg, Path(private))


def _serve(cfg: DictConfig, private: Path) -> None:
    from sali.app.models import Models, find_checkpoints
    from sali.app.page import Choices, Page
    from sali.app.play import Engine
    from sali.app.server import serve
    from sali.app.session import Session
    from sali.app.uploads import Limits
    from sali.app.view import View
    from sali.build import pick_device, prediction_settings
    from sali.data.video.files import VIDEO_SUFFIXES
    from sali.models.contract import VideoSegmenter

    given: Any = cfg.ckpt
    files = [] if given is None else list(given) if isinstance(given, ListConfig) else [given]
    named = {str(name): str(path) for name, path in (cfg.models or {}).items()}
    paths = find_checkpoints([str(file) for file in files], named)
    device = pick_device(cfg.device)

    def settings_of(trained: dict[str, Any], network: VideoSegmenter) -> dict[str, Any]:
        return prediction_settings(cfg, trained, network)

    models = Models(paths, settings_of, device, list(cfg.trust))
    models.load(models.names[0])
    suffixes = tuple(sorted(cfg.limits.suffixes or VIDEO_SUFFIXES))
    if unknown := sorted(set(suffixes) - VIDEO_SUFFIXES):
        known = ", ".join(sorted(VIDEO_SUFFIXES))
        raise ConfigError(f"limits.suffixes: got {unknown}, wanted some of {known}")
    limits = Limits(cfg.limits.seconds, cfg.video.max_pixels)
    engine = Engine(models, limits, cfg.meter_frames, dict(cfg.thumbnails))
    exporting = {"clip_rate": cfg.clip_rate, **cfg.video.overlay}

    def make_session() -> Session:
        folder = private / secrets.token_urlsafe(24)
        return Session(folder, engine, exporting, cfg.threshold)

    samples = _samples(cfg, private / "samples")
    choices = Choices(
        precisions=dict(cfg.precisions),
        precision=cfg.precision,
        threshold=cfg.threshold,
        largest_memory=cfg.largest_memory,
        largest_every=cfg.largest_every,
        megabytes=cfg.limits.megabytes,
        suffixes=suffixes,
        max_users=cfg.max_users,
        max_waiting=cfg.max_waiting,
        keep_minutes=cfg.keep_minutes,
        pictures_per_second=cfg.pictures_per_second,
    )
    page = Page(engine, samples, View(**cfg.display), choices, make_session)
    max_bytes = int(cfg.limits.megabytes * MEGABYTE)
    try:
        serve(page.blocks, cfg.host, cfg.port, cfg.open_browser, max_bytes)
    finally:
        page.close()


def _samples(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Clips that can be picked without an upload: the user's own, or drawn ones."""
    from sali.data.index import SUBSETS, index_present
    from sali.data.synthetic import SyntheticSpec, generate
    from sali.data.video.live import Live
    from sali.prediction import index_source

    if cfg.samples:
        own = index_source(str(cfg.samples), cfg.video.max_pixels)
        if any(isinstance(source, Live) for source in own):
            raise ConfigError(f"samples: got {cfg.samples}, which is live; wanted a folder or file")
        return {source.name: source for source in own}
    log.info("drawing sample clips; samples=DIR shows your own")
    generate(folder, SyntheticSpec(**cfg.generated))
    return {
        f"drawn {clip.subset.replace('_', ', ')}: {clip.name}": clip
        for clip in index_present(folder)
        if clip.subset in SUBSETS and clip.subset != "train"
    }


def _check(cfg: DictConfig) -> None:
    from sali.streaming.precision import PRECISIONS

    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("the page needs Gradio: pip install 'sali[demo]'")
    if cfg.models is not None and not OmegaConf.is_dict(cfg.models):
        raise ConfigError(
            f"models: got {cfg.models!r}, wanted names and files: models={{b5: b5.ckpt}}"
        )
    plain = cfg.copy()
    plain.models = None  # names are the user's own
    check_config(plain, "demo")
    if not 0 < cfg.threshold < 1:
        raise ConfigError(f"threshold: got {cfg.threshold}, wanted a number between 0 and 1")
    for name, least in LEAST.items():
        if cfg[name] < least:
            raise ConfigError(f"{name}: got {cfg[name]}, wanted {least} or more")
    for name in (*cfg.precisions, cfg.precision):
        if str(name) not in PRECISIONS or name not in cfg.precisions:
            wanted = ", ".join(PRECISIONS)
            raise ConfigError(f"precision: got {name!r}, wanted one of {wanted} in precisions")


@command("demo")
def main(cfg: DictConfig) -> None:
    """Run `demo` with a configuration composed by Hydra."""
    demo(cfg)


if __name__ == "__main__":
    main()
