"""Many subjects: one after the other, or over several processes of this machine. `stages.cluster` has the third way."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from avatarcli.config import CreateConfig, DeviceName
from avatarcli.devices import visible_gpus
from avatarcli.errors import DeviceError
from avatarcli.processes import Hearing, Message, Telling, portable, share_cores, with_cause
from avatarcli.progress import Progress, SilentProgress
from avatarcli.stages.pipeline import PipelineResult, RunOptions, run_pipeline
from avatarcli.workspace import Subject

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
    gpus = [] if device == "cpu" else visible_gpus()
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


class _Worker:
    """One child process, seen from the parent."""

    def __init__(self, place: int, work: Work, threads: int, gpus: Sequence[str], progress: Progress) -> None:
        self.place = place
        self.alive = True
        self._progress = progress
        self._job: Job | None = None
        self._heard = Hearing(progress)
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
        self._heard = Hearing(self._progress, job.subject.name)
        with suppress(OSError):  # it is dead, which `hear` finds out
            self.connection.send(job)

    def hear(self) -> Outcome | None:
        """Take one message; the job's outcome if it was the last."""
        assert self._job is not None
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.alive = False
            self._heard.close()
            return Outcome(self._job, error=self._death())
        if message[0] == "done":
            return Outcome(self._job, result=message[1])
        if message[0] == "failed":
            self._heard.close()
            return Outcome(self._job, error=with_cause(*message[1:]))
        self._heard.show(message)
        return None

    def dismiss(self) -> None:
        """Let the process go: it ends when nobody is there to give it work."""
        self._heard.close()
        self.connection.close()

    def bury(self) -> None:
        """Wait for the end of a process that was let go, or make it end."""
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _death(self) -> DeviceError:
        self.process.join(_PATIENCE)
        code = self.process.exitcode
        if code is not None and code < 0:
            how = f"was killed ({signal.Signals(-code).name})"
            mend = "; if memory ran out, use fewer --jobs or --preset draft" if -code == signal.SIGKILL else ""
            return DeviceError(f"the process that made it {how}{mend}")
        return DeviceError(f"the process that made it ended unexpectedly (exit code {code})")


def _serve(connection: Connection, work: Work, threads: int, environment: Mapping[str, str]) -> None:
    """What a child process does: jobs, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent sees to the children
    os.environ.update(environment)
    share_cores(threads)

    def send(message: Message) -> None:
        try:
            connection.send(message)
        except OSError:
            # The parent is gone. Leaving at once keeps what the stage has done so far, as an error here would not.
            os._exit(1)

    progress = Telling(send)
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result = work(job, progress)
        except Exception as error:
            send(("failed", *portable(error)))
        else:
            send(("done", result))
