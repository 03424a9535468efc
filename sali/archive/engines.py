"""Where the workers of an archive are: in this process, or on a Ray cluster."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sali.archive.places import SCALE
from sali.archive.recordings import Recording
from sali.archive.worker import Job, Outcome, Worker
from sali.errors import ConfigError
from sali.runtime.bundle import find_bundle


def in_this_process(job: Job, recordings: Sequence[Recording]) -> Iterator[Outcome]:
    """Segment one recording after the other."""
    worker = Worker(job)
    worker.write_manifest()
    yield from map(worker.predict, recordings)


class RayWorker(Worker):
    """A worker on a node that need not have the checkpoint's file; a bundle has to be there."""

    def __init__(self, job: Job, checkpoint: list[Any]) -> None:
        import ray

        super().__init__(job, ray.get(checkpoint[0]))


def on_ray(job: Job, recordings: Sequence[Recording]) -> Iterator[Outcome]:
    """Segment recordings by actors of a Ray cluster, each of which holds the network.

    Ray starts an actor again if its process or node is lost, and gives it the same recording.

    Raises:
        ConfigError: Ray is not installed, there is no cluster, or it has no room for a worker.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError(f"engine=ray: Ray is not installed: {SCALE}") from error
    options = job.cfg["archive"]
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray's reports to its makers
    here = not ray.is_initialized()
    try:
        if here:
            ray.init(options["address"], log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"archive.address: {options['address']}: {reason}") from error
    try:
        yield from _by_actors(ray, job, recordings)
    finally:
        if here:
            ray.shutdown()


def _by_actors(ray: Any, job: Job, recordings: Sequence[Recording]) -> Iterator[Outcome]:
    options = job.cfg["archive"]
    gpus = options["gpus"]
    if gpus is None:  # one, where there are any and the network may use them
        wanted = job.cfg["device"] == "auto" or job.cfg["device"].startswith("cuda")
        gpus = 1 if wanted and ray.cluster_resources().get("GPU") else 0
    needs = {"CPU": options["cpus"], "GPU": gpus}
    count = min(options["workers"] or _room(ray, needs), len(recordings))
    # In a list, as an actor that is started again may have no large arguments of its own.
    path = Path(job.cfg["ckpt"])
    checkpoint = [ray.put(None if find_bundle(path) else path.read_bytes())]
    kind = ray.remote(
        num_cpus=needs["CPU"],
        num_gpus=needs["GPU"],
        max_restarts=-1,
        max_task_retries=options["retries"],
    )(RayWorker)
    idle = [kind.remote(job, checkpoint) for _ in range(count)]
    _begin(ray, idle)
    # The longest first, so that no worker is left alone with a long one at the end.
    todo = sorted(recordings, key=lambda one: one.size)
    running: dict[Any, tuple[Any, Recording]] = {}
    while todo or running:
        while todo and idle:
            actor, recording = idle.pop(), todo.pop()
            running[actor.predict.remote(recording)] = actor, recording
        # The last ones give their places back, which one that lost its node may be waiting for.
        idle.clear()
        (done,), _ = ray.wait([*running])
        actor, recording = running.pop(done)
        try:
            outcome = ray.get(done)
        except ray.exceptions.RayError as error:
            reason = (
                f"its worker died {options['retries'] + 1} times, most likely for lack of memory"
            )
            if isinstance(error, ray.exceptions.RayTaskError):
                reason = f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
            outcome = Outcome(recording.name, recording.version, error=reason)
            actor = kind.remote(job, checkpoint)
        idle.append(actor)
        del actor
        yield outcome


def _begin(ray: Any, actors: Sequence[Any]) -> None:
    """Wait for the first worker; where it refuses to start, all would."""
    ready = {actor.__ray_ready__.remote(): actor for actor in actors}
    try:
        (first,), _ = ray.wait([*ready])
        ray.get(first)
        ray.get(ready[first].write_manifest.remote())
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        reason = str(cause).strip().splitlines()[-1]
        raise ConfigError(f"engine=ray: a worker does not start: {reason}") from error


def _room(ray: Any, needs: Mapping[str, float]) -> int:
    """Return how many workers the nodes have room for now."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(
        int(min(node.get(name, 0) // amount for name, amount in needs.items() if amount))
        for node in nodes
    )
    if not room:
        raise ConfigError(
            f"no node of the cluster has room for a worker with {needs}; give smaller "
            "archive.cpus or archive.gpus, or archive.workers where nodes are added on demand"
        )
    return room
