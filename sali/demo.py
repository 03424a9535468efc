"""See the segmenter work, in a page on this machine.

python -m sali.demo ckpt=best.ckpt
python -m sali.demo ckpt=[lite0.ckpt,b5.ckpt] samples=/data/SUN-SEG/TestHardDataset/Unseen
"""

import importlib.util
import logging
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from sali.app.job import Engine
from sali.app.limits import Limits
from sali.app.models import Models, find_checkpoints
from sali.app.reads import Album
from sali.app.samples import drawn_samples, own_samples
from sali.app.seats import Seats
from sali.app.session import Exporting, Session
from sali.app.sessions import Lifetimes, Sessions
from sali.app.view import View
from sali.build import pick_device, prediction_settings
from sali.cli import command
from sali.config import check_config
from sali.data.synthetic import SyntheticSpec
from sali.data.video.files import VIDEO_SUFFIXES
from sali.errors import ConfigError
from sali.prediction import Recorded
from sali.streaming.precision import PRECISIONS

log = logging.getLogger(__name__)


def demo(cfg: DictConfig) -> None:
    """Serve the page until it is stopped, then delete everything that came of it.

    Raises:
        UserError: anything that does not fit, before the page opens.
    """
    _check(cfg)
    paths = _checkpoints(cfg)
    own = own_samples(str(cfg.samples), cfg.video.max_pixels) if cfg.samples else None
    models = Models(
        paths,
        lambda trained, network: prediction_settings(cfg, trained, network),
        pick_device(cfg.device),
    )
    models.settings(models.names[0])
    # Readable by this user alone; a folder in it for what Gradio holds of uploads.
    with tempfile.TemporaryDirectory(prefix="sali_demo_", ignore_cleanup_errors=True) as private:
        folder = Path(private)
        _tame_gradio(folder / "gradio")
        samples = own or _drawn(cfg, folder / "samples")
        _serve(cfg, models, samples, folder)


def _serve(cfg: DictConfig, models: Models, samples: dict[str, Recorded], folder: Path) -> None:
    # Reads the environment when it is imported.
    from sali.app.page import Choices, Page
    from sali.app.server import Address, end_on_signals, make_app, serve

    end_on_signals()
    limits = _limits(cfg)
    view = View(cfg.display.width, cfg.display.jpeg_quality, cfg.display.reads)
    exporting = Exporting(cfg.clip_rate, dict(cfg.video.overlay))
    choices = Choices(
        {str(name): str(shown) for name, shown in cfg.precisions.items()},
        str(cfg.precision),
        cfg.threshold,
        cfg.largest_memory,
        cfg.largest_every,
    )
    with ThreadPoolExecutor(1, "forward") as forward:
        engine = Engine(
            models,
            Seats(cfg.max_users),
            forward,
            limits,
            cfg.display.meter_frames,
            Album(cfg.thumbnails.width, cfg.display.jpeg_quality, cfg.thumbnails.most),
        )

        def make_session(token: str, own: Path) -> Session:
            return Session(token, own, engine, view, exporting, cfg.threshold)

        lifetimes = Lifetimes(cfg.lost_seconds, cfg.keep_minutes)
        sessions = Sessions(folder / "sessions", make_session, cfg.max_sessions, lifetimes)
        try:
            keep_seconds = max(1, round(60 * cfg.keep_minutes))
            page = Page(sessions, samples, models, limits, choices, keep_seconds)
            app = make_app(page, sessions, limits, cfg.max_sessions, cfg.host)
            serve(app, Address(cfg.host, cfg.port, cfg.open_browser))
        finally:
            sessions.stop()


def _check(cfg: DictConfig) -> None:
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("the page needs Gradio: pip install 'sali[demo]'")
    if cfg.models is not None and not OmegaConf.is_dict(cfg.models):
        raise ConfigError(
            f"models is {cfg.models!r}; wanted names and files: models={{b5: b5.ckpt}}"
        )
    plain = cfg.copy()
    plain.models = None  # names are the user's own
    check_config(plain, "demo")
    if not 0 < cfg.threshold < 1:
        raise ConfigError(f"threshold {cfg.threshold} is not a probability between 0 and 1")
    least = {"max_users": 1, "max_sessions": 1, "keep_minutes": 0.01, "lost_seconds": 3}
    for name, value in least.items():
        if cfg[name] < value:
            raise ConfigError(f"{name} is {cfg[name]}; set it to {value} or more")
    for name in (*cfg.precisions, cfg.precision):
        if str(name) not in PRECISIONS:
            raise ConfigError(f"precision {name!r} is not one of {tuple(PRECISIONS)}")
    if str(cfg.precision) not in map(str, cfg.precisions):
        raise ConfigError(f"precision {cfg.precision} is not among precisions")


def _checkpoints(cfg: DictConfig) -> dict[str, Path]:
    given: Any = cfg.ckpt
    files = [] if given is None else list(given) if isinstance(given, ListConfig) else [given]
    named = {str(name): str(path) for name, path in (cfg.models or {}).items()}
    return find_checkpoints([str(file) for file in files], named)


def _limits(cfg: DictConfig) -> Limits:
    suffixes = sorted(VIDEO_SUFFIXES if cfg.limits.suffixes is None else cfg.limits.suffixes)
    if unknown := sorted(set(suffixes) - VIDEO_SUFFIXES):
        known = ", ".join(sorted(VIDEO_SUFFIXES))
        raise ConfigError(f"limits.suffixes has {unknown}; wanted some of {known}")
    limits = cfg.limits
    return Limits(limits.megabytes, limits.seconds, cfg.video.max_pixels, tuple(suffixes))


def _drawn(cfg: DictConfig, folder: Path) -> dict[str, Recorded]:
    log.info("drawing sample clips; samples=DIR shows your own")
    return drawn_samples(folder, SyntheticSpec(**cfg.generated))


def _tame_gradio(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"


@command("demo")
def main(cfg: DictConfig) -> None:
    """Hydra's shell round ``demo``."""
    demo(cfg)


if __name__ == "__main__":
    main()
