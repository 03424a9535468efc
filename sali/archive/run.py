"""`sali.predict` over an archive: segment what is missing, and say in a table what became of it."""

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sali.archive.engines import in_this_process, on_ray
from sali.archive.places import Place, archive_of, is_address, place_at
from sali.archive.recordings import index_recordings
from sali.archive.worker import Job, Outcome
from sali.errors import ConfigError, DataError
from sali.models.shipped import SAMPLE, is_sample
from sali.prediction.writers.tables import csv_text
from sali.run.processes import shard
from sali.run.progress import progress_bar
from sali.runtime.bundle import find_network

log = logging.getLogger(__name__)

ENGINES = {"local": in_this_process, "ray": on_ray}
MAPS = ("files", "zip", "none")
NOT_OF_RESULTS = {
    *("source", "output", "ckpt", "trust", "engine", "archive", "live", "resume"),
    *("device", "compile", "streams", "num_workers", "prefetch_factor"),
}
"""Keys that results do not depend on, or that are said in another way."""
SETTINGS, SUMMARY = ".settings.json", "summary.csv"  # no recording has a hidden name
COLUMNS = ("recording", "state", "frames", "skipped", "seconds", "node", "error")
BEFORE, NOW, FAILED = "there before", "done now", "failed"


def predict_archive(cfg: DictConfig) -> dict[str, int]:
    """Segment the recordings at an address whose results are not at the output yet.

    Results of a recording are complete if `<output>_archive/<recording>.json` is there. At the end
    the counts of this command are returned, or DataError says that recordings failed.
    """
    _check(cfg)
    source = place_at(str(SAMPLE) if is_sample(cfg.source) else str(cfg.source))
    output = place_at(str(cfg.output))
    _check_apart(source, output)
    recordings = index_recordings(source)
    own: Any = OmegaConf.to_container(cfg, resolve=True)
    path = find_network(cfg.ckpt).resolve()
    own["ckpt"] = str(path)
    with path.open("rb") as file:
        checkpoint = hashlib.file_digest(file, "sha256").hexdigest()
    # Everything that results depend on, except the recording.
    chosen = {name: value for name, value in own.items() if name not in NOT_OF_RESULTS}
    identity = {"checkpoint": checkpoint, "archive.maps": own["archive"]["maps"], **chosen}
    settings = archive_of(output).below(SETTINGS)
    is_noted = _check_settings(settings, identity)
    there = _outcomes(output)
    states = {
        one.name: (BEFORE, there[one.name])
        for one in recordings
        if one.name in there and there[one.name].version == one.version
    }
    todo = [one for one in recordings if one.name not in states]
    log.info("%d recordings, %d of them were done before", len(recordings), len(states))
    text = json.dumps(identity, indent=2, sort_keys=True) + "\n"
    key = f"{source.address}\n{output.address}\n{text}"
    job = Job(own, output, hashlib.sha256(key.encode()).hexdigest()[:16])
    if todo:
        with progress_bar("recordings") as progress:
            bar = progress.add_task("predict", total=len(recordings), completed=len(states))
            for outcome in ENGINES[cfg.engine](job, todo):
                if not (outcome.error or is_noted):
                    settings.write(text.encode())
                    is_noted = True
                states[outcome.recording] = FAILED if outcome.error else NOW, outcome
                _report(outcome, len(states), len(recordings))
                progress.advance(bar)
    rows = [
        (one.recording, state, one.frames, one.skipped, one.seconds, one.node, one.error)
        for state, one in (states[recording.name] for recording in recordings)
    ]
    archive_of(output).below(SUMMARY).write(csv_text(COLUMNS, *rows).encode())
    return _result(output, states)


def _check(cfg: DictConfig) -> None:
    if cfg.engine not in ENGINES:
        raise ConfigError(f"engine: got {cfg.engine!r}, wanted one of {', '.join(ENGINES)}")
    maps = cfg.archive.maps
    if maps not in MAPS:
        raise ConfigError(f"archive.maps: got {maps!r}, wanted one of {', '.join(MAPS)}")
    if maps == "none" and not (cfg.tables or cfg.overlay or cfg.recording):
        raise ConfigError("archive.maps=none leaves nothing; add tables=true or overlay=true")
    if cfg.streams != 1:
        raise ConfigError(
            f"streams: got {cfg.streams}, wanted 1, as recordings are taken one by one"
        )
    if cfg.data.corruption is not None:
        raise ConfigError("data.corruption is for folders of clips on this machine")
    if shard()[1] > 1:
        raise ConfigError("an archive has workers of its own (engine=ray); leave torchrun out")


def _check_apart(source: Place, output: Place) -> None:
    """Refuse results among the recordings, or the other way round, and a bucket alone."""
    one, other = f"{source.path}/", f"{output.path}/"
    if output.fs == source.fs and (one.startswith(other) or other.startswith(one)):
        raise ConfigError(
            f"output {output.address} and source {source.address} are in each other; results would "
            "be taken for recordings next time: choose another output"
        )
    if is_address(output.address) and "/" not in output.path.strip("/") and not output.local:
        raise ConfigError(
            f"output: got {output.address}, wanted a folder in it, as in {output.address}/maps"
        )


def _check_settings(place: Place, wanted: Mapping[str, Any]) -> bool:
    """Refuse to mix results with those of other settings; return whether there are any."""
    text = place.read()
    try:
        found = dict(json.loads(text)) if text else wanted
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{place.address} is not what sali.predict writes there; remove it, or give another "
            "output"
        ) from error
    other = ", ".join(sorted(n for n in {*wanted, *found} if wanted.get(n) != found.get(n)))
    if other:
        raise ConfigError(
            f"output: the results there have another {other} ({place.address}); give the same "
            "settings, or another output"
        )
    return bool(text)


def _outcomes(output: Place) -> dict[str, Outcome]:
    """Return what is complete at the output, by recording."""
    archive = archive_of(output)
    names = [name for name in archive.files() if name.endswith(".json") and name != SETTINGS]
    return {one.recording: one for one in map(Outcome.from_json, archive.read_all(names))}


def _report(outcome: Outcome, count: int, total: int) -> None:
    if outcome.error:
        log.warning("%d of %d: %s failed: %s", count, total, outcome.recording, outcome.error)
        return
    each = 1000 * outcome.seconds / max(1, outcome.frames)
    text = "%d of %d: %s, %d frames (%d skipped), %.0f ms each"
    log.info(text, count, total, outcome.recording, outcome.frames, outcome.skipped, each)


def _result(output: Place, states: Mapping[str, tuple[str, Outcome]]) -> dict[str, int]:
    """Log the table; return the counts of this command, or raise if something failed."""
    log.info("%-14s%12s%12s%10s", "", "recordings", "frames", "skipped")
    counts: dict[str, tuple[int, int, int]] = {}
    for state in (BEFORE, NOW, FAILED):
        own = [outcome for name, outcome in states.values() if name == state]
        frames, skipped = sum(one.frames for one in own), sum(one.skipped for one in own)
        counts[state] = len(own), frames, skipped
        log.info("%-14s%12d%12d%10d", state, *counts[state])
    for state, one in states.values():
        if state == FAILED:
            log.warning("failed: %s: %s", one.recording, one.error)
    log.info("written: %s", output.address)
    if counts[FAILED][0]:
        raise DataError(
            f"{counts[FAILED][0]} of {len(states)} recordings failed, see "
            f"{archive_of(output).below(SUMMARY).address}; the same command tries them again"
        )
    clips, frames, skipped = counts[NOW]
    return {"clips": clips, "frames": frames, "skipped": skipped}
