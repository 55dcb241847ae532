"""The stage runner with small stages of its own: what is redone, what is resumed, what is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from avatarcli.config import CreateConfig, DistillConfig, GenerateConfig
from avatarcli.errors import DeviceError, PhotoError, UsageError, WorkspaceError
from avatarcli.progress import SilentProgress
from avatarcli.stages.naming import name_subjects
from avatarcli.stages.pipeline import RunOptions, run_pipeline
from avatarcli.stages.runner import Stage, StageContext
from avatarcli.system import MissingLibraryError
from avatarcli.workspace import Subject, Workspace
from listening import Listener

_OPTIONS = RunOptions("cpu", SilentProgress())


@dataclass
class _Toy:
    """Two stages: letters of the photo in upper case, and how many there are."""

    subject: Subject
    photo: Path
    ran: list[str] = field(default_factory=list)
    version: int = 1

    def stages(self) -> tuple[Stage, Stage]:
        def upper(context: StageContext) -> None:
            self.ran.append("upper")
            (context.out / "text.txt").write_text(context.photos[0].read_text().upper())

        def count(context: StageContext) -> None:
            self.ran.append("count")
            letters = (context.input("upper") / "text.txt").read_text()
            (context.out / "count.txt").write_text(str(len(letters) * context.config.distill.iterations))

        return (
            Stage("upper", self.version, (), (), lambda config: {"views": config.generate.views}, upper),
            Stage("count", 1, ("upper",), (), lambda config: {"iterations": config.distill.iterations}, count),
        )

    def run(
        self, config: CreateConfig | None = None, *, only: str | None = None, options: RunOptions = _OPTIONS
    ) -> list[str]:
        """Bring it up to date, or only one stage, and say which stages did work."""
        self.ran.clear()
        run_pipeline(self.subject, self.photo, config or CreateConfig(), options, only=only, pipeline=self.stages())
        return list(self.ran)


@pytest.fixture
def toy(tmp_path: Path) -> _Toy:
    photo = tmp_path / "ada.txt"
    photo.write_text("abc")
    return _Toy(Workspace(tmp_path / "avatars").new_subject("ada"), photo)


def test_only_what_changed_is_redone(toy: _Toy) -> None:
    assert toy.run() == ["upper", "count"]
    assert toy.run() == []
    assert toy.run(CreateConfig(seed=5)) == []  # no stage here reads the seed
    assert toy.run(CreateConfig(distill=DistillConfig(iterations=7))) == ["count"]
    assert toy.run(CreateConfig(generate=GenerateConfig(views=3))) == ["upper", "count"]
    toy.run()
    toy.photo.write_text("abd")
    assert toy.run(options=replace(_OPTIONS, replace=True)) == ["upper", "count"]
    toy.version = 2
    assert toy.run() == ["upper"]  # it wrote the same again, so what follows stands
    assert toy.run(options=replace(_OPTIONS, force=True)) == ["upper", "count"]


def test_what_follows_a_redone_stage_is_out_of_date_until_it_is_redone(toy: _Toy) -> None:
    toy.run()
    assert toy.subject.outdated("count") == []
    listener = Listener()
    toy.photo.write_text("abcd")
    toy.run(only="upper", options=replace(_OPTIONS, replace=True, progress=listener))
    assert "count out of date now: run `avatar count --subject ada`" in listener.said[-1]
    assert toy.subject.outdated("count") == ["count"]
    assert toy.subject.outdated("upper") == []
    with pytest.raises(WorkspaceError, match=r"out of date.*run `avatar count --subject ada`"):
        toy.subject.whole("count", "count.txt")
    toy.run(only="count")
    assert toy.subject.whole("count", "count.txt").read_text() == str(len("ABCD") * CreateConfig().distill.iterations)
    # Redone with the same result: nothing is out of date.
    toy.run(only="upper", options=replace(_OPTIONS, force=True))
    assert toy.subject.outdated("count") == []


def test_out_of_date_passes_on_to_the_last_stage(toy: _Toy) -> None:
    last = Stage("last", 1, ("count",), (), lambda config: {}, lambda context: None)
    pipeline = (*toy.stages(), last)
    run_pipeline(toy.subject, toy.photo, CreateConfig(), _OPTIONS, pipeline=pipeline)
    toy.photo.write_text("abcd")
    toy.run(only="upper", options=replace(_OPTIONS, replace=True))
    assert toy.subject.outdated("last") == ["count", "last"]
    # Out of what is out of date nothing is made.
    with pytest.raises(WorkspaceError, match=r"ada's count is out of date: run `avatar count --subject ada` first"):
        run_pipeline(toy.subject, toy.photo, CreateConfig(), _OPTIONS, only="last", pipeline=pipeline)
    # An earlier stage that was deleted changes nothing.
    toy.run()
    run_pipeline(toy.subject, toy.photo, CreateConfig(), _OPTIONS, only="last", pipeline=pipeline)
    shutil.rmtree(toy.subject.stage_path("upper"))
    assert toy.subject.outdated("last") == []


@pytest.mark.parametrize("only", [None, "upper"])
def test_a_name_stays_with_its_photo(toy: _Toy, only: str | None) -> None:
    toy.run()
    toy.photo.write_text("edited")
    with pytest.raises(UsageError, match=r"another photo.*ada\.txt.*--subject.*--replace"):
        toy.run(only=only)
    assert toy.subject.outdated("count") == []
    assert toy.run(only=only, options=replace(_OPTIONS, replace=True)) == ["upper", "count"][: 1 if only else 2]


def test_a_workspace_that_cannot_be_written_is_up_to_date_or_says_so(
    toy: _Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.run()
    before = sorted(toy.subject.workspace.root.rglob("*"))
    # Root may write everywhere, so the system's answer is given for it.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    shutil.rmtree(toy.subject.workspace.root / ".locks")
    listener = Listener()
    assert toy.run(options=replace(_OPTIONS, progress=listener)) == []
    assert "up to date" in listener.said[-1]
    assert "read-only" in listener.said[-1]
    assert sorted(toy.subject.workspace.root.rglob("*")) == [path for path in before if ".locks" not in path.parts]


def test_a_damaged_file_is_made_again(toy: _Toy) -> None:
    toy.run()
    (toy.subject.stage_path("count") / "count.txt").write_text("4")
    assert toy.run() == ["count"]
    (toy.subject.stage_path("upper") / "text.txt").unlink()
    assert toy.run() == ["upper"]


def test_one_stage_alone_refuses_missing_and_damaged_inputs(toy: _Toy) -> None:
    stages = toy.stages()
    with pytest.raises(WorkspaceError, match="run `avatar upper --subject ada` first"):
        run_pipeline(toy.subject, toy.photo, CreateConfig(), _OPTIONS, only="count", pipeline=stages)
    toy.run()
    (toy.subject.stage_path("upper") / "text.txt").write_text("ABX")
    with pytest.raises(WorkspaceError, match=r"text\.txt is damaged"):
        run_pipeline(toy.subject, toy.photo, CreateConfig(), _OPTIONS, only="count", pipeline=stages)


def _fails_with(error: Exception) -> Stage:
    def fail(context: StageContext) -> None:
        (context.out / "half.txt").write_text("half")
        raise error

    return Stage("upper", 9, (), (), lambda config: {}, fail)


def test_a_failing_first_stage_leaves_no_subject(toy: _Toy) -> None:
    stage = _fails_with(PhotoError("no face"))
    with pytest.raises(PhotoError, match="no face"):
        run_pipeline(toy.subject, toy.photo, CreateConfig(), _OPTIONS, pipeline=[stage])
    assert not toy.subject.path.exists()


def test_a_failing_stage_leaves_the_last_good_one(toy: _Toy) -> None:
    toy.run()
    with pytest.raises(PhotoError):
        run_pipeline(
            toy.subject, toy.photo, CreateConfig(seed=3), _OPTIONS, pipeline=[_fails_with(PhotoError("no face"))]
        )
    assert toy.subject.manifest().config["seed"] == 0
    assert toy.run() == []


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError("libGLESv2.so.2: cannot open shared object file"), MissingLibraryError, "sudo apt-get install -y lib"),
        (
            ImportError("libEGL.so.1: cannot open shared object file"),
            MissingLibraryError,
            "sudo apt-get install -y lib",
        ),
        (OSError(28, "No space left on device"), WorkspaceError, "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), WorkspaceError, "the disk is full"),
        (PermissionError(13, "Permission denied", "/x"), WorkspaceError, "no permission to use /x"),
        (OutOfMemoryError("CUDA"), DeviceError, "GPU ran out of memory"),
    ],
)
def test_what_libraries_raise_becomes_one_line(
    toy: _Toy, error: Exception, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        run_pipeline(toy.subject, toy.photo, CreateConfig(), _OPTIONS, pipeline=[_fails_with(error)])
    assert "\n" not in str(caught.value)
    assert not toy.subject.path.exists()


_SLOW = """
import sys, time
from pathlib import Path
from avatarcli.config import CreateConfig
from avatarcli.progress import SilentProgress
from avatarcli.stages.pipeline import RunOptions, run_pipeline
from avatarcli.stages.runner import Stage
from avatarcli.workspace import Workspace

def write_five(context):
    for index in range(5):
        file = context.out / f"{index}.txt"
        if not file.exists():
            file.write_text(str(index))
            print(index, flush=True)
            if index == 2 and sys.argv[3] == "stop":
                time.sleep(60)

stage = Stage("slow", 1, (), (), lambda config: {"seed": config.seed}, write_five)
config = CreateConfig(seed=int(sys.argv[4]))
run_pipeline(Workspace(Path(sys.argv[1])).new_subject("ada"), Path(sys.argv[2]), config,
             RunOptions("cpu", SilentProgress()), pipeline=[stage])
"""


def _slow(toy: _Toy, mode: str, seed: int = 0) -> subprocess.Popen[str]:
    arguments = [str(toy.subject.workspace.root), str(toy.photo), mode, str(seed)]
    return subprocess.Popen([sys.executable, "-c", _SLOW, *arguments], stdout=subprocess.PIPE, text=True)


def _wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 30 seconds")


@pytest.mark.parametrize("earlier", [False, True], ids=["first-time", "over-an-older-result"])
def test_a_killed_stage_is_never_taken_for_whole_and_is_resumed(toy: _Toy, earlier: bool) -> None:
    if earlier:
        assert _slow(toy, "run", seed=1).communicate()[0].split() == list("01234")
    final = toy.subject.stage_path("slow")
    before = toy.subject.record("slow")
    child = _slow(toy, "stop")
    _wait_until(lambda: (toy.subject.path / ".slow.partial" / "2.txt").exists())
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert final.exists() == earlier
    assert toy.subject.record("slow") == before
    assert toy.subject.damaged_file("slow") == (None if earlier else "stage.json")
    # The second run does only what was left; the third finds nothing to do.
    assert _slow(toy, "run").communicate()[0].split() == ["3", "4"]
    assert toy.subject.damaged_file("slow") is None
    assert sorted(path.name for path in final.glob("*.txt")) == [f"{index}.txt" for index in range(5)]
    assert _slow(toy, "run").communicate()[0] == ""


def test_a_killed_stage_is_not_resumed_with_other_settings(toy: _Toy) -> None:
    child = _slow(toy, "stop")
    _wait_until(lambda: (toy.subject.path / ".slow.partial" / "2.txt").exists())
    child.kill()
    child.communicate()
    assert _slow(toy, "run", seed=1).communicate()[0].split() == list("01234")


_FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
""" + _SLOW.replace("file.write_text(str(index))", "file.write_bytes(bytes(60_000 * (index + 1)))")


def test_a_full_disk_leaves_nothing_half_written(toy: _Toy) -> None:
    arguments = [str(toy.subject.workspace.root), str(toy.photo), "run", "0"]
    done = subprocess.run([sys.executable, "-c", _FULL_DISK, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0"]  # the second file did not fit
    assert "WorkspaceError: the disk is full" in done.stderr
    assert not toy.subject.path.exists()


def test_a_longer_name_is_said_and_can_be_avoided(toy: _Toy) -> None:
    toy.run()
    workspace = toy.subject.workspace
    toy.photo.write_text("edited")
    namesake = toy.photo.with_suffix(".png")
    namesake.write_text("other")
    listener = Listener()
    names = name_subjects(workspace, [toy.photo, namesake], progress=listener)
    assert all(name.startswith("ada-") for name in names.values())
    assert [str(photo) in said for photo, said in zip(names, listener.said, strict=True)] == [True, True]
    assert all("--subject NAME" in said and "--replace" in said for said in listener.said)
    listener.said.clear()
    names = name_subjects(workspace, [toy.photo, namesake], replace=True, progress=listener)
    assert names[toy.photo] == "ada"
    assert names[namesake].startswith("ada-")
    assert len(listener.said) == 1
    assert "rename the file" in listener.said[0]


def test_subjects_are_named_after_photos_and_never_overwrite_another_person(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "avatars")
    photos = [tmp_path / "a" / "Me.jpg", tmp_path / "b" / "me.png", tmp_path / "c" / "copy.jpg", tmp_path / "gone.jpg"]
    for photo, content in zip(photos, ("one", "two", "one"), strict=False):
        photo.parent.mkdir()
        photo.write_text(content)
    names = name_subjects(workspace, photos)
    assert names[photos[0]] == "me"
    assert names[photos[1]].startswith("me-")
    assert photos[2] not in names  # the same picture as the first
    assert names[photos[3]] == "gone"
    toy = _Toy(workspace.new_subject("me"), photos[0])
    toy.run()
    assert name_subjects(workspace, photos[:1]) == {photos[0]: "me"}
    assert name_subjects(workspace, photos[1:2]) == {photos[1]: names[photos[1]]}


def test_photos_of_one_person_are_one_input_in_any_order(toy: _Toy) -> None:
    others = [toy.photo.with_name(name) for name in ("side.txt", "copy.txt", "third.txt")]
    for path, text in zip(others, ("side", toy.photo.read_text(), "third"), strict=True):
        path.write_text(text)

    def run(*photos: Path, options: RunOptions = _OPTIONS) -> bool:
        first, *further = photos
        made = run_pipeline(toy.subject, first, CreateConfig(), options, further=further, pipeline=toy.stages())
        return made.stages[0].cached

    assert not run(toy.photo, *others)
    manifest = toy.subject.manifest()
    assert [manifest.photo, *manifest.further_photos] == [str(path) for path in (toy.photo, others[0], others[2])]
    assert run(others[2], toy.photo, others[0])
    with pytest.raises(UsageError, match="another photo"):
        run(toy.photo, others[0])
    assert not run(toy.photo, others[0], options=replace(_OPTIONS, replace=True))
    many = [toy.photo.with_name(f"{number}.txt") for number in range(9)]
    for path in many:
        path.write_text(path.name)
    with pytest.raises(UsageError, match="9 photos of one person: at most 8"):
        run(*many)
