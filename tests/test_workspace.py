"""The workspace on real folders, with real processes that are really killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import pytest

from avatarcli.errors import UsageError, WorkspaceError
from avatarcli.records import Manifest, fingerprint_of
from avatarcli.workspace import Subject, Workspace, default_root, slug
from children import kill, run_python
from listening import Listener


def _finish(subject: Subject, stage: str, fingerprint: str, text: str) -> None:
    with subject.lock():
        out = subject.begin(stage, fingerprint)
        (out / "result.txt").write_text(text)
        subject.commit(stage, fingerprint, 1.5)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    made = Workspace(tmp_path / "avatars").new_subject("ada")
    _finish(made, "preprocess", "old", "old result")
    made.save_manifest(Manifest("ada", "ada.jpg", "0" * 64, {}))
    return made


def test_a_finished_stage_is_current_for_its_fingerprint_only(subject: Subject) -> None:
    record = subject.current("preprocess", "old")
    assert record is not None
    assert record.seconds == 1.5
    assert set(record.files) == {"result.txt"}
    assert record.bytes == len("old result")
    assert subject.current("preprocess", "new") is None
    assert subject.current("generate", "old") is None


def test_content_depends_on_names_and_bytes_alone(subject: Subject) -> None:
    contents = []
    for fingerprint, text in (("a", "same"), ("b", "same"), ("c", "different")):
        _finish(subject, "preprocess", fingerprint, text)
        record = subject.record("preprocess")
        assert record is not None
        contents.append(record.content)
    assert contents[0] == contents[1] != contents[2]


def test_sizes_alone_show_what_is_cut_short(subject: Subject) -> None:
    file = subject.stage_path("preprocess") / "result.txt"
    file.write_text("old_result")
    assert subject.damaged_file("preprocess", thorough=False) is None
    file.write_text("old")
    assert subject.damaged_file("preprocess", thorough=False) == "result.txt"


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": {"result.txt": {"size": "10", "sha256": "0"}}},
        {"files": {"result.txt": {"size": 10, "sha256": None}}},
        {"files": {"result.txt": 10}},
        {"seconds": "long"},
        {"inputs": {"preprocess": 1}},
        {"inputs": ["preprocess"]},
    ],
)
def test_a_record_of_other_kinds_of_values_is_none(subject: Subject, change: dict[str, object]) -> None:
    path = subject.stage_path("preprocess") / "stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert subject.record("preprocess") is None


@pytest.mark.parametrize("damage", ["changed", "truncated", "deleted", "record"])
def test_a_damaged_stage_is_not_current(subject: Subject, damage: str) -> None:
    path = subject.stage_path("preprocess") / "result.txt"
    if damage == "changed":
        path.write_text("OLD result")
    elif damage == "truncated":
        path.write_text("old")
    elif damage == "deleted":
        path.unlink()
    else:
        path.with_name("stage.json").write_text('{"stage": "preprocess", "fi')
    assert subject.current("preprocess", "old") is None
    assert subject.damaged_file("preprocess") == ("stage.json" if damage == "record" else "result.txt")


def test_working_files_are_kept_for_the_same_fingerprint_and_removed_at_the_end(subject: Subject) -> None:
    out = subject.begin("distill", "a")
    (out / ".checkpoint").write_text("step 7")
    (out / ".cache").mkdir()
    (out / ".cache" / "piece").write_text("x")
    assert (subject.begin("distill", "a") / ".checkpoint").read_text() == "step 7"
    (out / "avatar").write_text("done")
    (out / "avatar").chmod(0o600)
    assert set(subject.commit("distill", "a", 1.0).files) == {"avatar"}
    assert {path.name for path in subject.stage_path("distill").rglob("*")} == {"avatar", "stage.json"}
    modes = {path.stat().st_mode for path in subject.stage_path("distill").iterdir()}
    assert len(modes) == 1  # the avatar is as readable as any other file


def test_working_files_of_another_fingerprint_are_removed(subject: Subject) -> None:
    (subject.begin("distill", "a") / ".checkpoint").write_text("step 7")
    assert not (subject.begin("distill", "b") / ".checkpoint").exists()


_KILLED_BETWEEN_RENAMES = """
import os, signal, sys
from pathlib import Path
from avatarcli.workspace import Workspace
subject = Workspace(Path(sys.argv[1])).subject("ada")
rename, calls = os.rename, []
def stop_before_the_second(old, new):
    calls.append(new)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(old, new)
os.rename = stop_before_the_second
with subject.lock():
    out = subject.begin("preprocess", "new")
    (out / "result.txt").write_text("new result")
    subject.commit("preprocess", "new", 1.0)
"""


@pytest.mark.parametrize("reader", ["lock", "artefact"])
def test_a_kill_between_the_two_renames_is_repaired(subject: Subject, reader: str) -> None:
    child = run_python(_KILLED_BETWEEN_RENAMES, subject.workspace.root)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert not subject.stage_path("preprocess").exists()
    if reader == "lock":
        with subject.lock():
            pass
    else:
        subject.artefact("preprocess", "result.txt")
    assert subject.current("preprocess", "new") is not None
    assert (subject.stage_path("preprocess") / "result.txt").read_text() == "new result"
    assert not [path for path in subject.path.iterdir() if path.name.startswith(".")]


def test_the_old_stage_comes_back_when_the_new_one_is_not_whole(subject: Subject) -> None:
    os.rename(subject.stage_path("preprocess"), subject.path / ".preprocess.previous")
    (subject.begin("preprocess", "new") / "result.txt").write_text("half")
    with subject.lock():
        assert subject.current("preprocess", "old") is not None


_HOLDS_THE_LOCK = """
import sys
from pathlib import Path
from avatarcli.workspace import Workspace
with Workspace(Path(sys.argv[1])).subject("ada").lock():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_process_is_told_who_holds_the_subject_and_waits(subject: Subject) -> None:
    child = run_python(_HOLDS_THE_LOCK, subject.workspace.root)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(WorkspaceError, match=f"process {child.pid} on "), subject.lock(wait=False):
        pass
    listener = Listener()

    class _ReleaseWhenHeard(Listener):
        def info(self, message: str) -> None:
            assert child.stdin is not None
            listener.said.append(message)
            child.stdin.write("\n")
            child.stdin.flush()

    with subject.lock(progress=_ReleaseWhenHeard()):
        assert str(child.pid) in listener.said[0]
        assert child.wait(timeout=10) == 0
    child.communicate()


def test_the_lock_of_a_killed_process_is_free(subject: Subject) -> None:
    child = run_python(_HOLDS_THE_LOCK, subject.workspace.root)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    kill(child)
    assert (subject.workspace.root / ".locks" / "ada.json").exists()  # its note is stale
    with subject.lock(wait=False):
        pass


_FULL_DISK = """
import resource, sys
from pathlib import Path
from avatarcli.errors import WorkspaceError
from avatarcli.workspace import Workspace
subject = Workspace(Path(sys.argv[1])).subject("ada")
with subject.lock():
    subject.begin("preprocess", "new")
    # A limit on the size of files refuses writes as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    try:
        subject.commit("preprocess", "new", 1.0)
    except WorkspaceError as error:
        print(error)
"""


def test_a_record_that_does_not_fit_on_the_disk_is_one_line_and_leaves_the_old_stage(subject: Subject) -> None:
    child = run_python(_FULL_DISK, subject.workspace.root)
    said, _ = child.communicate()
    assert said.splitlines() == ["the disk is full: free some space and run the command again"]
    assert subject.current("preprocess", "old") is not None


@pytest.mark.parametrize("place", ["root", "subject"])
def test_a_file_in_the_way_is_one_line(tmp_path: Path, place: str) -> None:
    in_the_way = tmp_path / "avatars" if place == "root" else tmp_path / "avatars" / "ada"
    in_the_way.parent.mkdir(exist_ok=True)
    in_the_way.write_text("")
    subject = Workspace(tmp_path / "avatars").new_subject("ada")
    with pytest.raises(WorkspaceError, match="cannot write to"), subject.lock():
        subject.begin("preprocess", "a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WorkspaceError, match="no permission"):
        Workspace(tmp_path / "avatars").check_writable()


def test_the_last_subject_is_remembered_and_survives_its_deletion(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(WorkspaceError, match="avatar create"):
        workspace.subject()
    for age, name in enumerate(("cleo", "ben", "ada")):
        made = workspace.new_subject(name)
        made.path.mkdir()
        made.save_manifest(Manifest(name, f"{name}.jpg", "0" * 64, {}))
        os.utime(made.path / "manifest.json", (1e9 - age, 1e9 - age))
    workspace.remember("ada")
    listener = Listener()
    assert workspace.subject(progress=listener).name == "ada"
    assert listener.said == []
    shutil.rmtree(tmp_path / "ada")
    assert workspace.subject(progress=listener).name == "cleo"
    assert "'ada', is gone: taking the newest, cleo" in listener.said[-1]
    (tmp_path / ".last").unlink()
    assert workspace.subject(progress=listener).name == "cleo"
    assert "nobody knows which was made last: taking the newest, cleo" in listener.said[-1]
    assert [subject.name for subject in workspace.subjects()] == ["ben", "cleo"]


def test_an_unknown_subject_names_the_known_ones(subject: Subject) -> None:
    with pytest.raises(WorkspaceError, match=r"no subject 'bob' in .*; there are: ada"):
        subject.workspace.subject("bob")


@pytest.mark.parametrize("name", ["../ada", "a/b", ".hidden", "", "-x", "a" * 101])
def test_a_subject_cannot_leave_the_workspace(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        Workspace(tmp_path).new_subject(name)


@pytest.mark.parametrize(
    ("stem", "name"), [("My Photo (1)", "my-photo-1"), ("李雷_2", "李雷-2"), ("...", "subject"), ("x" * 200, "x" * 60)]
)
def test_slugs_are_names_of_subjects(tmp_path: Path, stem: str, name: str) -> None:
    assert slug(stem) == name
    assert Workspace(tmp_path).new_subject(slug(stem)).name == name


def test_a_manifest_that_cannot_be_read_is_one_line(subject: Subject) -> None:
    wrong_kinds = json.dumps(asdict(Manifest("ada", "ada.jpg", "0" * 64, {})) | {"config": []})
    for content in ("{", "[]", '{"format_version": 99}', '{"format_version": 1, "subject": "ada"}', wrong_kinds):
        (subject.path / "manifest.json").write_text(content)
        with pytest.raises(WorkspaceError, match="avatar create"):
            subject.manifest()


def test_the_root_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVATAR_WORKSPACE", raising=False)
    assert default_root() == Path("avatars")
    monkeypatch.setenv("AVATAR_WORKSPACE", "/somewhere/else")
    assert default_root() == Path("/somewhere/else")


def test_fingerprints_ignore_the_order_of_keys() -> None:
    assert fingerprint_of({"a": 1, "b": {"c": 2}}) == fingerprint_of(json.loads('{"b": {"c": 2}, "a": 1}'))
    assert fingerprint_of({"a": 1}) != fingerprint_of({"a": 2})
