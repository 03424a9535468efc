"""What was run, on what, and how it ended."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sali.report.folder import RunFolder

Fact = tuple[str, str]


def facts(run: RunFolder) -> list[Fact]:
    """Return names and values, what matters most first."""
    return [(name, text) for name, text in _facts(run) if text]


def state(run: RunFolder) -> tuple[str, str]:
    """Return "finished", "failed" or "running", and what a reader must know of it."""
    found = run.status.get("state", "finished" if run.metrics else "unknown")
    if found == "failed":
        return found, str(run.status.get("error") or "the error was not recorded")
    if found == "running":
        return found, "The run had not ended when this page was made; it may be running still."
    return found, ""


def title(run: RunFolder) -> str:
    """Return the name of the run or of the evaluation."""
    name = run.settings.get("name")
    if name:
        return f"{name}, {run.path.resolve().name}"
    if len(run.methods) > 1:
        return f"{len(run.methods)} methods compared"
    return next(iter(run.methods), "") if not run.status else run.path.resolve().name


def _facts(run: RunFolder) -> Iterator[Fact]:
    """Yield names and values; long ones last, as they take a whole line each."""
    record, metrics = run.record, run.metrics
    data = record.get("data", {})
    yield "Experiment", str(run.settings.get("name", ""))
    yield "Methods", ", ".join(run.methods) if not run.status else ""
    yield "Started" if run.status else "Written", _date(record.get("started"))
    yield "Duration", _duration(run)
    yield "Protocol", str(metrics.get("protocol", ""))
    yield "Checkpoint tested", str(metrics.get("checkpoint", ""))
    for name, value in metrics.get("best", {}).items():
        yield f"Best {name}", f"{value:.4f}"
    if data:
        yield "Training clips", f"{data['train_clips']} ({data['train_frames']} frames)"
        subsets = [f"{name} ({number})" for name, number in data["test_subsets"].items()]
        yield "Test clips", ", ".join(subsets)
        yield "Held-out cases", ", ".join(data["validation_clips"])
    yield "Seed", str(record.get("seed", ""))
    yield "Device", _device(record)
    yield "Commit", _commit(record)
    if data:
        yield "Data", f"{data['root']}, fingerprint {data['fingerprint']}"
    yield "Ground truth", str(record.get("gt", ""))
    yield "Maps", str(record.get("pred", ""))
    yield "Resumed from", str(record.get("resumed_from") or "")
    yield "Command", str(record.get("command", ""))
    if run.overrides is not None:
        yield "Changed from the defaults", shlex.join(run.overrides) or "nothing"
    versions = {"sali": record.get("sali"), "Python": record.get("python")}
    versions |= record.get("versions", {}) | record.get("packages", {})
    yield "Versions", ", ".join(f"{name} {value}" for name, value in versions.items() if value)


def _commit(record: dict[str, Any]) -> str:
    """Return twelve digits of the commit, and whether there were changes."""
    commit, plus, changes = str(record.get("git_commit") or "").partition("+")
    return commit[:12] + plus + changes


def _device(record: dict[str, Any]) -> str:
    if "device" not in record:
        return str(record.get("machine", ""))
    processes = record.get("num_processes", 1)
    more = f", {processes} processes" if processes > 1 else ""
    return f"{record['device']} ({record.get('machine', '')}){more}"


def _date(text: str | None) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S %Z") if text else ""


def _duration(run: RunFolder) -> str:
    """Return the time from the record's start to the last change of status.json."""
    ends = run.path / "status.json"
    if not run.record.get("started") or run.status.get("state") not in ("finished", "failed"):
        return ""
    end = datetime.fromtimestamp(ends.stat().st_mtime, UTC)
    seconds = (end - datetime.fromisoformat(run.record["started"])).total_seconds()
    if seconds < 0:
        return ""
    hours, rest = divmod(round(seconds), 3600)
    text = f"{hours} h " if hours else ""
    return f"{text}{rest // 60} min {rest % 60} s (to the last change of status.json)"
