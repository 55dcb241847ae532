"""The same work on a Ray cluster of two workers, one of which is killed on the way."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avatarcli.errors import DeviceError, PhotoError, WorkspaceError
from avatarcli.progress import SilentProgress
from avatarcli.stages.batch import Job, Outcome, run_in_turn
from avatarcli.stages.cluster import run_on_cluster
from avatarcli.workspace import Workspace
from listening import Listener

pytest.importorskip("ray", reason="Ray is not installed: pip install 'avatarcli[ray]'")

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of this machine alone, with room for two tasks, started as an administrator would."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short: sockets live in it
    where = f"127.0.0.1:{free_port()}"
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address=127.0.0.1",
        f"--port={where.split(':')[1]}", "--num-cpus=2", "--num-gpus=0", "--include-dashboard=false", f"--temp-dir={folder}",
        "--object-store-memory=100000000", "--disable-usage-stats",
    ]  # fmt: skip
    head = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path, "RAY_AUTH_MODE": "disabled"}, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(where.split(":")[1])), timeout=1).close()
                break
            except OSError:
                assert head.poll() is None, "the cluster does not start"
                assert time.monotonic() < end, "the cluster does not answer"
                time.sleep(0.1)
        yield where
    finally:
        head.terminate()
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def until(holds: Callable[[], bool], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_every_subject_ends_once_though_a_worker_is_killed(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.chdir(tmp_path)
    from toy_work import ToyWork

    workspace = Workspace(Path("avatars"))  # relative, as users write it
    photos = {"ada": "abc", "held": "hold", "bad": "fail", "eve": "xyz", "zoe": "uvw"}
    for name, word in photos.items():
        Path(f"{name}.txt").write_text(word)
    jobs = [Job(Path(f"{name}.txt"), workspace.new_subject(name)) for name in photos]

    def diary() -> list[list[str]]:
        path = tmp_path / "diary.txt"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def kill_the_one_that_is_held() -> None:
        until(lambda: ["begun", "held"] in [line[:2] for line in diary()])
        os.kill(next(int(line[2]) for line in diary() if line[:2] == ["begun", "held"]), signal.SIGKILL)
        (tmp_path / "go").touch()

    killer = threading.Thread(target=kill_the_one_that_is_held)
    killer.start()
    progress = Listener()
    work = ToyWork(tmp_path / "diary.txt")
    outcomes: list[Outcome] = list(run_on_cluster(jobs, work, progress, address=address, at_once=None, device="auto"))
    killer.join()
    ended = {outcome.job.subject.name: outcome for outcome in outcomes}
    assert len(outcomes) == len(ended) == len(jobs)
    assert {outcome.job for outcome in outcomes} == set(jobs)
    assert isinstance(ended["bad"].error, PhotoError)
    for name in ("ada", "held", "eve", "zoe"):
        result = ended[name].result
        assert result is not None
        assert result.subject is ended[name].job.subject
        assert result.subject.damaged_file("count") is None
        events = [line[0] for line in diary() if line[1] == name]
        assert events == ["upper", "begun", *(["resumed"] if name == "held" else []), "finished"]
    began, went_on = (
        next(line[2] for line in diary() if line[:2] == [event, "held"]) for event in ("begun", "resumed")
    )
    assert began != went_on
    assert [stage.cached for stage in ended["held"].result.stages] == [True, False]  # type: ignore[union-attr]
    assert "ada: a toy" in progress.said
    assert sorted(path.name for path in workspace.root.glob(".cluster-*")) == []

    # Again: nothing is left to do. And a machine that has another folder by the workspace's name says so.
    again = list(run_on_cluster(jobs[:1], work, progress, address=address, at_once=1, device="cpu"))
    assert all(stage.cached for stage in again[0].result.stages)  # type: ignore[union-attr]
    with pytest.raises(DeviceError, match="the cluster has no GPU"):
        list(run_on_cluster(jobs, work, progress, address=address, at_once=None, device="cuda"))


def test_a_subject_that_kills_every_worker_is_given_up(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    from toy_work import ToyWork

    workspace = Workspace(tmp_path / "avatars")
    (tmp_path / "dead.txt").write_text("kill")
    jobs = [Job(tmp_path / "dead.txt", workspace.new_subject("dead"))]
    work = ToyWork(tmp_path / "diary.txt")
    (outcome,) = run_on_cluster(jobs, work, SilentProgress(), address=address, at_once=1, device="auto")
    assert isinstance(outcome.error, DeviceError)
    assert "in 4 tries" in str(outcome.error)
    assert (tmp_path / "diary.txt").read_text().count("resumed dead") == 3
    with jobs[0].subject.lock(wait=False):  # the dead hold no locks
        assert jobs[0].subject.record("count") is None


def test_leaving_early_stops_the_tasks(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    from toy_work import ToyWork

    workspace = Workspace(tmp_path / "avatars")
    jobs = []
    for name, word in {"ada": "abc", "held": "hold"}.items():
        (tmp_path / f"{name}.txt").write_text(word)
        jobs.append(Job(tmp_path / f"{name}.txt", workspace.new_subject(name)))
    diary = tmp_path / "diary.txt"
    outcomes = run_on_cluster(jobs, ToyWork(diary), SilentProgress(), address=address, at_once=None, device="cpu")
    assert next(outcomes).job is jobs[0]
    until(lambda: "begun held" in diary.read_text())
    outcomes.close()  # as Ctrl-C does
    worker = next(line.split()[2] for line in diary.read_text().splitlines() if line.startswith("begun held"))
    until(lambda: not Path(f"/proc/{worker}").exists())
    (tmp_path / "go").touch()
    (held,) = run_in_turn(jobs[1:], ToyWork(diary), SilentProgress())
    assert held.result is not None
    assert diary.read_text().count("resumed held") == diary.read_text().count("finished held") == 1


def test_a_machine_without_the_workspace_is_named(tmp_path: Path) -> None:
    from avatarcli.stages import cluster

    workspace = Workspace(tmp_path / "avatars")
    answer = cluster._run(Job(tmp_path / "a.txt", workspace.new_subject("a")), lambda job, progress: None, "mark", 1)  # type: ignore[arg-type, return-value]
    assert answer.failure is not None
    assert isinstance(answer.failure[0], WorkspaceError)
    assert "does not see the workspace" in str(answer.failure[0])


@pytest.mark.parametrize("nowhere", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_no_cluster_is_one_line(tmp_path: Path, nowhere: str) -> None:
    jobs = [Job(tmp_path / "a.txt", Workspace(tmp_path).new_subject("a"))]
    with pytest.raises(DeviceError, match=f"no Ray cluster at {nowhere}: Connection refused"):
        list(
            run_on_cluster(jobs, lambda job, progress: None, SilentProgress(), address=nowhere, at_once=1, device="cpu")
        )  # type: ignore[arg-type, return-value]
