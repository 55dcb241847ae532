"""Many subjects in this process and in several: each ends once, and a bad one takes no other with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from avatarcli.errors import DeviceError, PhotoError
from avatarcli.processes import RemoteTraceback, portable
from avatarcli.progress import SilentProgress
from avatarcli.stages import batch
from avatarcli.stages.batch import Job, Outcome, run_in_processes, run_in_turn
from avatarcli.workspace import Workspace
from listening import Listener

HERE = Path(__file__).parent


Make = Callable[[dict[str, str]], list[Job]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.syspath_prepend(str(HERE))
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)

    def jobs(photos: dict[str, str]) -> list[Job]:
        workspace = Workspace(tmp_path / "avatars")
        made = []
        for name, word in photos.items():
            (tmp_path / f"{name}.txt").write_text(word)
            made.append(Job(tmp_path / f"{name}.txt", workspace.new_subject(name)))
        return made

    return jobs


def by_name(outcomes: list[Outcome]) -> dict[str, Outcome]:
    found = {outcome.job.subject.name: outcome for outcome in outcomes}
    assert len(found) == len(outcomes)
    return found


def diary(tmp_path: Path) -> list[list[str]]:
    return [line.split() for line in (tmp_path / "diary.txt").read_text().splitlines()]


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_in_turn_a_bad_one_stops_nobody(make: Make, tmp_path: Path) -> None:
    from toy_work import ToyWork

    jobs = make({"ada": "abc", "bad": "fail", "eve": "xyz"})
    outcomes = list(run_in_turn(jobs, ToyWork(tmp_path / "diary.txt"), SilentProgress()))
    assert [outcome.job for outcome in outcomes] == jobs
    assert [type(outcome.error) for outcome in outcomes] == [type(None), PhotoError, type(None)]


def test_processes_do_each_job_once_and_survive_what_happens_to_some(make: Make, tmp_path: Path) -> None:
    from toy_work import ToyWork

    jobs = make({"ada": "abc", "bad": "fail", "odd": "odd", "dead": "kill", "eve": "xyz"})
    progress = Listener()
    work = ToyWork(tmp_path / "diary.txt")
    ended = by_name(list(run_in_processes(jobs, work, progress, processes=2, device="cpu")))
    assert set(ended) == {"ada", "bad", "odd", "dead", "eve"}
    for name in ("ada", "eve"):
        result = ended[name].result
        assert result is not None
        assert [stage.cached for stage in result.stages] == [False, False]
        assert [line[1] for line in diary(tmp_path) if line[0] == "finished"].count(name) == 1
        assert f"{name}: a toy" in progress.warnings
    assert isinstance(ended["bad"].error, PhotoError)
    assert str(ended["bad"].error) == "no face in it"
    assert isinstance(ended["bad"].error.__cause__, RemoteTraceback)
    assert "Odd: 1 and 2" in str(ended["odd"].error)
    assert isinstance(ended["dead"].error, DeviceError)
    assert "SIGKILL" in str(ended["dead"].error)
    # What is done stays done.
    (again,) = run_in_processes(jobs[:1], work, progress, processes=4, device="cpu")
    assert again.result is not None
    assert all(stage.cached for stage in again.result.stages)


def test_a_process_that_died_is_replaced_for_the_jobs_that_wait(make: Make, tmp_path: Path) -> None:
    from toy_work import ToyWork

    jobs = make({"dead": "kill", "eve": "xyz"})
    # One process, so that nobody else can take the second job before the first has died.
    work = ToyWork(tmp_path / "diary.txt")
    ended = by_name(list(run_in_processes(jobs, work, Listener(), processes=1, device="cpu")))
    assert isinstance(ended["dead"].error, DeviceError)
    assert ended["eve"].result is not None
    assert len({line[2] for line in diary(tmp_path)}) == 2


def test_cores_and_gpus_are_shared_out(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toy_work import ToyWork

    monkeypatch.setattr(batch, "visible_gpus", lambda: ["5", "7"])
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    jobs = make({"a": "hold", "b": "hold", "c": "hold"})
    outcomes = run_in_processes(jobs, ToyWork(tmp_path / "diary.txt"), Listener(), processes=3, device="auto")
    places = [job.subject.stage_path("upper") / "where.txt" for job in jobs]
    (tmp_path / "go").touch()
    assert len(list(outcomes)) == 3
    assert sorted(place.read_text() for place in places) == ["4 5", "4 5", "4 7"]


PROGRAM = """
import sys
from pathlib import Path
if __name__ == "__main__":
    from toy_work import ToyWork
    from avatarcli.progress import SilentProgress
    from avatarcli.stages.batch import Job, run_in_processes
    from avatarcli.workspace import Workspace
    place = Path(sys.argv[1])
    workspace = Workspace(place / "avatars")
    jobs = [Job(place / f"{name}.txt", workspace.new_subject(name)) for name in ("a", "b", "c")]
    try:
        list(run_in_processes(jobs, ToyWork(place / "diary.txt"), SilentProgress(), processes=2, device="cpu"))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopping_the_parent_stops_the_children_and_keeps_their_work(
    make: Make, tmp_path: Path, how: signal.Signals
) -> None:
    from toy_work import ToyWork

    jobs = make({"a": "hold", "b": "hold", "c": "abc"})
    (tmp_path / "program.py").write_text(PROGRAM)
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip
    try:
        until(lambda: (tmp_path / "diary.txt").exists() and sum(line[0] == "begun" for line in diary(tmp_path)) == 2)
        children = {int(line[2]) for line in diary(tmp_path)}
        if how == signal.SIGINT:
            os.killpg(parent.pid, how)  # as a terminal does it: to everybody
            assert parent.wait(30) == 130
        else:
            parent.kill()
            parent.wait(30)
            (tmp_path / "go").touch()  # they are not told; they notice when they report
        until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    finally:
        parent.kill()
        parent.wait()
    finished = [line for line in diary(tmp_path) if line[0] == "finished"]
    assert how == signal.SIGKILL or not finished
    (tmp_path / "go").touch()
    outcomes = list(run_in_turn(jobs, ToyWork(tmp_path / "diary.txt"), SilentProgress()))
    assert all(outcome.result is not None for outcome in outcomes)
    events = [line[:2] for line in diary(tmp_path)]
    for name in ("a", "b"):
        assert ["resumed", name] in events
        assert jobs[0].subject.damaged_file("count") is None


def test_errors_that_cannot_travel_are_quoted() -> None:
    class Local(Exception):
        pass

    error, text = portable(Local("deep"))
    assert str(error) == "Local: deep"
    assert "Local: deep" in text
