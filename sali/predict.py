"""Maps for every frame of a source.

python -m sali.predict ckpt=best.ckpt source=/data/clips output=maps
python -m sali.predict ckpt=best.ckpt source=procedure.mp4 output=maps overlay=true
python -m sali.predict source=s3://bucket/recordings output=s3://bucket/maps engine=ray
"""

import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig

from sali.cli import INTERRUPTED, command
from sali.config import check_config
from sali.errors import ConfigError
from sali.models.shipped import SAMPLE, is_sample
from sali.run.io import require_writable
from sali.runtime.bundle import find_bundle, find_network

log = logging.getLogger(__name__)


def predict(cfg: DictConfig) -> dict[str, int]:
    """Write the maps of a source, and what else the configuration asks for.

    A clip's folder appears when all of its maps are written, never half. Under torchrun every
    process takes its share of whole clips. An interrupted video is resumed. Several commands may
    write into one output at the same time, but not results of the same clip.

    Returns:
        Number of "clips", "frames" and "skipped" frames of this process; of a live source also
        "dropped" ones.

    Raises:
        UserError: Anything that does not fit, before or during the work.
    """
    check_config(cfg, "predict")
    _check_values(cfg)
    if _is_archive(cfg):
        from sali.archive.run import predict_archive

        return predict_archive(cfg)
    from sali.data.index import Clip
    from sali.prediction.sources import index_source, protect_source

    source = SAMPLE if is_sample(cfg.source) else cfg.source
    sources = index_source(str(source), cfg.video.max_pixels)
    if cfg.streams != 1 and not isinstance(sources[0], Clip):
        raise ConfigError(
            f"streams: got {cfg.streams}, wanted 1, as videos are streamed one by one"
        )

    from sali.prediction.result import LOCK
    from sali.predictor import Predictor
    from sali.run.locks import locked
    from sali.run.processes import shard

    predictor = Predictor(cfg)
    output = Path(os.path.abspath(str(cfg.output)))  # so that it has a name, also for `.`
    writers = predictor.writers(output, sources)
    for one in sources:
        for writer in writers.values():
            protect_source(one, writer.root, str(cfg.source))
            writer.protect(one.name)
    rank, num_processes = shard()
    sources = sources[rank::num_processes]
    with locked(output / LOCK, [one.name for one in sources]) as taken:
        if taken is not None:
            raise ConfigError(
                f"another process predicts {taken} into {output}; wait for its end, or choose "
                "another output"
            )
        counts = predictor.run(sources, writers, quiet=rank > 0)
        log.info("%(frames)d maps of %(clips)d clips, %(skipped)d frames skipped", counts)
        if rank == 0:
            predictor.write_manifest(output)
    for root in dict.fromkeys(writer.root for writer in writers.values()):
        log.info("written: %s", root)
    return counts


def _is_archive(cfg: DictConfig) -> bool:
    """Return whether recordings are taken one by one, each from and to where fsspec reaches."""
    source = str(cfg.source)
    if cfg.engine != "local" or "://" in str(cfg.output):
        return True
    if "://" not in source:
        return False
    from sali.data.video.live import SCHEMES

    return source.partition("://")[0].lower() not in SCHEMES


def _check_values(cfg: DictConfig) -> None:
    """Raise ConfigError for values that would only be noticed after the network is loaded."""
    if cfg.recording and find_spec("rerun") is None:
        raise ConfigError(
            "recording=true needs rerun-sdk, which is not installed: pip install 'sali[recording]'"
        )
    source = str(cfg.source)
    # A camera has a number or a device, on Windows video=<name>; a stream has an address.
    is_live = "://" in source or source.isdigit() or source.startswith(("/dev/", "video="))
    if _is_missing(source) and not is_live and not is_sample(source):
        raise ConfigError(f"source: no such folder or file: {source}")
    if "://" not in str(cfg.output):
        require_writable(Path(str(cfg.output)))
    _check_bundle(cfg)
    if cfg.on_bad_frame not in ("error", "skip"):
        raise ConfigError(f"on_bad_frame: got {cfg.on_bad_frame!r}, wanted 'error' or 'skip'")


def _check_bundle(cfg: DictConfig) -> None:
    """Raise ConfigError for what a bundle cannot do, or where there is no network at all."""
    find_network(cfg.ckpt)
    if find_bundle(cfg.ckpt) is None:
        return
    if str(cfg.precision) != "32" or cfg.compile or cfg.device not in ("auto", "cpu"):
        raise ConfigError(
            f"ckpt: {cfg.ckpt} is a bundle, whose precision and engine were chosen by sali.export; "
            "leave out precision, compile and device"
        )


def _is_missing(path: str) -> bool:
    """Return whether nothing has this path; what is wrong with it otherwise is found later."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


@command("predict")
def main(cfg: DictConfig) -> None:
    """Hydra's shell around `predict`."""
    try:
        predict(cfg)
    except KeyboardInterrupt:
        log.warning("interrupted; the same command resumes a video where it was saved last")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
