"""Many subjects as tasks of a Ray cluster (https://ray.io), each on one GPU where the cluster has GPUs.

Photos, workspace and avatarcli must be there on every machine, under the same paths. A task whose process or machine
dies is run again elsewhere by Ray. That is safe and cheap: the subject's lock lets one process at it at a time, finished
stages are found finished by their fingerprints, and a stage that was cut off goes on from its working folder. So every
subject ends once, however often it was begun.
"""

from __future__ import annotations

import logging
import os
import socket
import traceback
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from avatarcli.config import DeviceName
from avatarcli.errors import DeviceError, PhotoError, WorkspaceError
from avatarcli.processes import Hearing, Message, Telling, portable, share_cores, with_cause
from avatarcli.progress import Progress
from avatarcli.stages.batch import Job, Outcome, Work
from avatarcli.stages.pipeline import PipelineResult
from avatarcli.system import check_extra
from avatarcli.workspace import Workspace

_RETRIES = 3  # times that a task is begun again after its process or machine died
_CONNECT_SECONDS = 10.0  # for finding out that nobody listens, which takes Ray itself minutes
_LOOK_SECONDS = 1.0  # between two looks for Ctrl-C while tasks run


@dataclass(frozen=True)
class _Answer:
    """What comes back from a task: the result or the error with its traceback, and what was said meanwhile."""

    result: PipelineResult | None = None
    failure: tuple[Exception, str] | None = None
    said: list[Message] = field(default_factory=list)  # what it was told, without steps


def run_on_cluster(
    jobs: Sequence[Job], work: Work, progress: Progress, *, address: str, at_once: int | None, device: DeviceName
) -> Generator[Outcome, None, None]:
    """Do the jobs on the Ray cluster at `address` ("auto", "host:6379", "ray://host:10001"), in the order they finish.

    at_once: at most so many at a time; None: as many as the cluster holds. When the iteration is left, running tasks are
    stopped, and what that leaves in the workspace is what a kill leaves.

    Raises:
        DeviceError: Ray is not installed, the cluster cannot be reached, or has no GPU for --device cuda.
        WorkspaceError: the workspace cannot be written.
    """
    ray = _connect(address)
    try:
        needs = _needs(ray, min(len(jobs), at_once or len(jobs)), device)
        task = ray.remote(max_retries=_RETRIES, scheduling_strategy="SPREAD", **needs)(_run)
        waiting = [_absolute(job) for job in jobs]
        given = dict(zip(waiting, jobs, strict=True))
        running: dict[Any, Job] = {}
        with progress.task("avatars", len(jobs)) as advance, _mark(waiting[0].subject.workspace) as mark:
            try:
                while waiting or running:
                    while waiting and (at_once is None or len(running) < at_once):
                        job = waiting.pop(0)
                        running[task.remote(job, work, mark, int(needs["num_cpus"]))] = job
                    for reference in ray.wait(list(running), timeout=_LOOK_SECONDS)[0]:
                        job = given[running.pop(reference)]
                        outcome = _outcome(ray, reference, job, progress)
                        advance(1)
                        yield outcome
            finally:
                for reference in running:
                    with suppress(Exception):  # it may just have ended
                        ray.cancel(reference, force=True)
    finally:
        ray.shutdown()


def _run(job: Job, work: Work, mark: str, threads: int) -> _Answer:
    """The task, on some machine of the cluster."""
    share_cores(threads)
    said: list[Message] = []

    def keep(message: Message) -> None:
        if message[0] in ("info", "warn"):
            said.append(message)

    host = socket.gethostname()
    where = "photos and workspace must be on a path that all machines of the cluster share"
    try:
        if not (job.subject.workspace.root / mark).exists():
            raise WorkspaceError(f"{host} does not see the workspace {job.subject.workspace.root}: {where}")
        if not job.photo.exists():
            raise PhotoError(f"{host} does not see {job.photo}: {where}")
        return _Answer(result=work(job, Telling(keep)), said=said)
    except Exception as error:
        return _Answer(failure=portable(error), said=said)


def _outcome(ray: Any, reference: Any, job: Job, progress: Progress) -> Outcome:
    try:
        answer: _Answer = ray.get(reference)
    except ray.exceptions.RayError as error:
        text = str(error)
        if "No module named 'avatarcli'" in text:
            return Outcome(
                job, error=DeviceError("a machine of the cluster has no avatarcli: install it on all of them")
            )
        reason = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), type(error).__name__)
        return Outcome(job, error=DeviceError(f"the cluster could not finish it, in {1 + _RETRIES} tries: {reason}"))
    heard = Hearing(progress, job.subject.name)
    for message in answer.said:
        heard.show(message)
    if answer.failure is not None:
        return Outcome(job, error=with_cause(*answer.failure))
    assert answer.result is not None
    # As this machine knows the subject, by the path that the user gave.
    return Outcome(job, result=replace(answer.result, subject=job.subject))


def _connect(address: str) -> Any:
    # Nothing of this program calls home. Ray reads this when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    check_extra("ray", "--cluster")
    import ray

    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise DeviceError(f"no Ray cluster at {address}: {getattr(error, 'strerror', None) or error}") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # it fails in many ways: of its own, grpc's, and plain ones
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "AuthToken" in "".join(traceback.format_exception(error)):
            reason = "it wants a token, set RAY_AUTH_MODE=token and put the token into ~/.ray/auth_token"
        raise DeviceError(f"no Ray cluster at {address}: {reason[:200]}") from error
    return ray


def _needs(ray: Any, at_once: int, device: DeviceName) -> dict[str, float]:
    """What one task asks for: a GPU and its share of the cores, or on the CPU its share of the cluster's cores."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpu = [machine for machine in machines if machine.get("GPU", 0) >= 1]
    if with_gpu and device != "cpu":
        cores = min(machine.get("CPU", 0) // machine["GPU"] for machine in with_gpu)
        return {"num_gpus": 1, "num_cpus": max(1.0, cores)}
    if device == "cuda":
        raise DeviceError("--device cuda: the cluster has no GPU; leave it out or use --device cpu")
    cores_each = [machine["CPU"] for machine in machines if machine.get("CPU", 0) >= 1]
    if not cores_each:
        raise DeviceError("the cluster has no CPU to give: start its nodes with --num-cpus 1 or more")
    return {"num_cpus": max(1.0, min(sum(cores_each) // at_once, *cores_each))}


def _absolute(job: Job) -> Job:
    """The job with paths that mean the same on every machine."""
    root = Workspace(job.subject.workspace.root.expanduser().resolve())
    return Job(Path(job.photo).expanduser().resolve(), root.new_subject(job.subject.name))


@contextmanager
def _mark(workspace: Workspace) -> Iterator[str]:
    """A file by which a machine knows that its workspace is this one, and not a folder of its own by the same name."""
    workspace.check_writable()
    mark = workspace.root / f".cluster-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark.name
    finally:
        mark.unlink(missing_ok=True)
