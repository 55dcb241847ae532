"""Many subjects: one after the other, or over several processes of this machine. `stages.cluster` has the third way."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from avatarcli.config import CreateConfig, DeviceName
from avatarcli.errors import DeviceError
from avatarcli.progress import Progress, SilentProgress
from avatarcli.stages.pipeline import PipelineResult, RunOptions, run_pipeline
from avatarcli.workspace import Subject

_REPORT_SECONDS = 0.2  # between two reports of a task's progress; more would only keep the parent busy
_PATIENCE = 5.0  # seconds that a stopped process gets before it is killed


@dataclass(frozen=True)
class Job:
    """One photo and the subject to make of it; further: other photos of the same person."""

    photo: Path
    subject: Subject
    further: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with a result or with an error."""

    job: Job
    result: PipelineResult | None = None
    error: Exception | None = None


# What is done for each job. It travels to other processes, so it must be picklable.
Work = Callable[[Job, Progress], PipelineResult]


class MakeAvatar:
    """The work of `avatar create`."""

    def __init__(self, config: CreateConfig, options: RunOptions) -> None:
        self._config = config
        self._options = replace(options, progress=SilentProgress())  # a console does not travel

    def __call__(self, job: Job, progress: Progress) -> PipelineResult:
        options = replace(self._options, progress=progress)
        return run_pipeline(job.subject, job.photo, self._config, options, further=job.further)


class RemoteTraceback(Exception):
    """The traceback of an error in another process, as the cause of that error here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def run_in_turn(jobs: Sequence[Job], work: Work, progress: Progress) -> Generator[Outcome, None, None]:
    """Do the jobs in this process. Whatever becomes of one, the others get their turn."""
    for job in jobs:
        try:
            outcome = Outcome(job, work(job, progress))
        except Exception as error:
            outcome = Outcome(job, error=error)
        yield outcome


def run_in_processes(
    jobs: Sequence[Job], work: Work, progress: Progress, *, processes: int, device: DeviceName
) -> Generator[Outcome, None, None]:
    """Do the jobs in several processes, in the order in which they finish.

    The processes share this machine's cores. Each has one of its GPUs, in turn, unless `device` is "cpu". One that dies
    takes only its job with it. When the iteration is left (Ctrl-C, an error), they are stopped; what that leaves in the
    workspace is what a kill leaves, which the next run continues from.
    """
    processes = min(processes, len(jobs))
    gpus = [] if device == "cpu" else _gpus()
    threads = max(1, (os.cpu_count() or 1) // max(processes, 1))
    waiting = deque(jobs)
    team: dict[Connection, _Worker] = {}
    dismissed: list[_Worker] = []
    free = list(range(processes))
    with progress.task("avatars", len(jobs)) as advance:
        try:
            while waiting or team:
                while waiting and free:
                    worker = _Worker(free.pop(0), work, threads, gpus, progress)
                    team[worker.connection] = worker
                    worker.give(waiting.popleft())
                for connection in wait(list(team)):
                    worker = team[connection]  # type: ignore[index]  # sockets cannot be among them
                    outcome = worker.hear()
                    if outcome is None:
                        continue
                    if worker.alive and waiting:
                        worker.give(waiting.popleft())
                    else:
                        dismissed.append(team.pop(worker.connection))
                        free.append(worker.place)
                        worker.dismiss()
                    advance(1)
                    yield outcome
        finally:
            for worker in team.values():
                worker.process.terminate()
                worker.dismiss()
            for worker in (*dismissed, *team.values()):
                worker.bury()


def portable(error: Exception) -> tuple[Exception, str]:
    """An error and its traceback, fit to travel: one that cannot be pickled becomes a RuntimeError that quotes it."""
    text = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}"), text
    return error, text


def with_cause(error: Exception, text: str) -> Exception:
    """An error that has travelled, with its traceback back in place."""
    error.__cause__ = RemoteTraceback(text)
    return error


def share_cores(threads: int) -> None:
    """Let this process compute with so many threads. Only before torch and numba are imported."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))


class _Worker:
    """One child process, seen from the parent."""

    def __init__(self, place: int, work: Work, threads: int, gpus: Sequence[str], progress: Progress) -> None:
        self.place = place
        self.alive = True
        self._progress = progress
        self._job: Job | None = None
        self._tasks: dict[int, tuple[ExitStack, Callable[[int], None]]] = {}
        self.connection, theirs = multiprocessing.Pipe()
        environment = {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {}
        # spawn: a fork would carry along the parent's threads' locks, and CUDA once it is in use.
        self.process: SpawnProcess = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, work, threads, environment), name=f"avatar-{place}"
        )
        self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self._job = job
        with suppress(OSError):  # it is dead, which `hear` finds out
            self.connection.send(job)

    def hear(self) -> Outcome | None:
        """Take one message; the job's outcome if it was the last."""
        assert self._job is not None
        try:
            kind, *content = self.connection.recv()
        except (EOFError, OSError):
            self.alive = False
            self._close_tasks()
            return Outcome(self._job, error=self._death())
        if kind == "done":
            return Outcome(self._job, result=content[0])
        if kind == "failed":
            self._close_tasks()
            return Outcome(self._job, error=with_cause(*content))
        self._show(kind, *content)
        return None

    def dismiss(self) -> None:
        """Let the process go: it ends when nobody is there to give it work."""
        self._close_tasks()
        self.connection.close()

    def bury(self) -> None:
        """Wait for the end of a process that was let go, or make it end."""
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _show(self, kind: str, *content: Any) -> None:
        assert self._job is not None
        name = self._job.subject.name
        if kind == "open":
            key, description, total = content
            stack = ExitStack()
            self._tasks[key] = stack, stack.enter_context(self._progress.task(f"{name}: {description}", total))
        elif kind == "advance":
            self._tasks[content[0]][1](content[1])
        elif kind == "close":
            self._tasks.pop(content[0])[0].close()
        else:
            text = content[0] if content[0].startswith(f"{name}") else f"{name}: {content[0]}"
            getattr(self._progress, kind)(text)

    def _close_tasks(self) -> None:
        for stack, _ in self._tasks.values():
            stack.close()
        self._tasks.clear()

    def _death(self) -> DeviceError:
        self.process.join(_PATIENCE)
        code = self.process.exitcode
        if code is not None and code < 0:
            how = f"was killed ({signal.Signals(-code).name})"
            mend = "; if memory ran out, use fewer --jobs or --preset draft" if -code == signal.SIGKILL else ""
            return DeviceError(f"the process that made it {how}{mend}")
        return DeviceError(f"the process that made it ended unexpectedly (exit code {code})")


class _Messages:
    """The `Progress` of a child process: everything goes to the parent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._count = 0

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        self._count += 1
        key, unsaid, spoke = self._count, 0, time.monotonic()

        def advance(steps: int) -> None:
            nonlocal unsaid, spoke
            unsaid += steps
            if time.monotonic() - spoke >= _REPORT_SECONDS:
                self.send("advance", key, unsaid)
                unsaid, spoke = 0, time.monotonic()

        self.send("open", key, description, total)
        try:
            yield advance
        finally:
            self.send("close", key)

    def info(self, message: str) -> None:
        self.send("info", message)

    def warn(self, message: str) -> None:
        self.send("warn", message)

    def send(self, *message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError:
            # The parent is gone. Leaving at once keeps what the stage has done so far, as an error here would not.
            os._exit(1)


def _serve(connection: Connection, work: Work, threads: int, environment: Mapping[str, str]) -> None:
    """What a child process does: jobs, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent sees to the children
    os.environ.update(environment)
    share_cores(threads)
    messages = _Messages(connection)
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result = work(job, messages)
        except Exception as error:
            messages.send("failed", *portable(error))
        else:
            messages.send("done", result)


def _gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES knows them by."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return (visible.split(",") if visible else [str(index) for index in range(count)])[:count]
