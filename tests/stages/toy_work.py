"""Work for the tests of batch and cluster, in a module of its own so that other processes can import it.

What a photo says decides what happens to it: `fail`, `odd` (an error that cannot be pickled), `kill` (the process dies),
`hold` (waits for a file called `go`), or anything else, which is written out in upper case.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from avatarcli.config import CreateConfig
from avatarcli.errors import PhotoError
from avatarcli.progress import Progress
from avatarcli.stages.batch import Job
from avatarcli.stages.pipeline import PipelineResult, RunOptions, run_pipeline
from avatarcli.stages.runner import Stage, StageContext


class Odd(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


@dataclass(frozen=True)
class ToyWork:
    """Two small stages. `diary` gets a line `event subject pid` for everything that happens."""

    diary: Path

    def __call__(self, job: Job, progress: Progress) -> PipelineResult:
        options = RunOptions("cpu", progress)
        return run_pipeline(job.subject, job.photo, CreateConfig(), options, pipeline=self._stages())

    def _stages(self) -> tuple[Stage, Stage]:
        return (
            Stage("upper", 1, (), (), lambda config: {}, self._upper),
            Stage("count", 1, ("upper",), (), lambda config: {}, self._count),
        )

    def _note(self, event: str, context: StageContext) -> None:
        with self.diary.open("a") as stream:
            stream.write(f"{event} {context.subject.name} {os.getpid()}\n")

    def _upper(self, context: StageContext) -> None:
        self._note("upper", context)
        threads, gpu = os.environ.get("OMP_NUM_THREADS"), os.environ.get("CUDA_VISIBLE_DEVICES")
        (context.out / "text.txt").write_text(context.photos[0].read_text().upper())
        (context.out / "where.txt").write_text(f"{threads} {gpu}")

    def _count(self, context: StageContext) -> None:
        word = context.photos[0].read_text()
        context.progress.warn("a toy")
        if word == "fail":
            raise PhotoError("no face in it")
        if word == "odd":
            raise Odd(1, 2)
        self._note("resumed" if (context.out / "half.txt").exists() else "begun", context)
        (context.out / "half.txt").write_text("half")
        with context.progress.task("count", 10) as advance:
            advance(4)
            if word == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            while word == "hold" and not (self.diary.parent / "go").exists():
                time.sleep(0.02)
            advance(6)
        self._note("finished", context)
