"""One folder per subject: which stages are done, where their files are, and how they get there.

    <root>/<subject>/manifest.json       the photo and the settings, for people and for later commands
    <root>/<subject>/<stage>/            a finished stage; its `stage.json` records fingerprint, sizes and SHA-256
    <root>/<subject>/.<stage>.partial/   a stage at work, or what a killed one left
    <root>/<subject>/.<stage>.previous/  the old stage, for the moment between two renames

The record travels inside the stage's folder, so one rename makes files and record current together: a kill at any
moment leaves the last good artefact. A partial folder carries the fingerprint that it was begun for, and is kept for
that one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from avatarcli.errors import UsageError, WorkspaceError
from avatarcli.files import explain_io_error, make_ordinary, sha256_file, write_atomically
from avatarcli.progress import Progress, SilentProgress
from avatarcli.records import FORMAT_VERSION, FileRecord, Manifest, StageRecord

ENVIRONMENT_VARIABLE = "AVATAR_WORKSPACE"
DEFAULT_ROOT = Path("avatars")

_MANIFEST = "manifest.json"
_RECORD = "stage.json"
_BEGUN_FOR = ".fingerprint"
_LAST = ".last"
_LOCKS = ".locks"
_SUBJECT_NAME = re.compile(r"[^\W_][\w.-]{0,99}")  # no leading dot or dash, no separators


def default_root() -> Path:
    """`$AVATAR_WORKSPACE`, else `./avatars`."""
    return Path(os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_ROOT).expanduser()


def slug(stem: str) -> str:
    """A subject's name from a file's: lower case, words joined by dashes; letters of every script stay."""
    words = re.sub(r"[^\w]+|_+", "-", unicodedata.normalize("NFC", stem).lower()).strip("-")
    return words[:60].rstrip("-") or "subject"


class Workspace:
    """The folder that holds the subjects."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = default_root() if root is None else root.expanduser()

    def subject(self, name: str | None = None, *, progress: Progress | None = None) -> Subject:
        """A subject that exists; the last one made when no name is given.

        progress: warned when that one is not known, and another is taken.

        Raises:
            WorkspaceError: there is no such subject, or none at all.
        """
        if name is None:
            return self._last(progress or SilentProgress())
        found = Subject(self, _checked(name))
        if not found.exists():
            known = ", ".join(subject.name for subject in self.subjects()[:10])
            hint = f"there are: {known}" if known else "make one with `avatar create photo.jpg`"
            raise WorkspaceError(f"no subject '{name}' in {self.root}; {hint}")
        return found

    def new_subject(self, name: str) -> Subject:
        """The place of a subject that may not exist yet. Raises UsageError when the name cannot be a folder's."""
        return Subject(self, _checked(name))

    def subjects(self) -> list[Subject]:
        """Every subject, by name. Raises WorkspaceError when the folder cannot be read."""
        try:
            names = sorted(entry.name for entry in self.root.iterdir() if entry.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise WorkspaceError(f"cannot read the workspace {self.root}: {error.strerror}") from error
        found = [Subject(self, name) for name in names if _SUBJECT_NAME.fullmatch(name)]
        return [subject for subject in found if subject.exists()]

    def remember(self, name: str) -> None:
        """Make `name` what commands without --subject work on."""
        with _workspace_errors(self.root):
            write_atomically(self.root / _LAST, f"{name}\n".encode())

    def check_writable(self) -> None:
        """Raise WorkspaceError unless files can be made here (the folder is made if it is missing)."""
        with _workspace_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            write_atomically(self.root / ".writable", b"")
            (self.root / ".writable").unlink()

    def writable(self) -> bool:
        """Whether a subject that is there can be worked on, as far as the system says without trying."""
        return not self.root.is_dir() or os.access(self.root, os.W_OK)

    def _last(self, progress: Progress) -> Subject:
        name = None
        with suppress(OSError, UnicodeDecodeError):
            name = (self.root / _LAST).read_text(encoding="utf-8").strip()
            if _SUBJECT_NAME.fullmatch(name) and Subject(self, name).exists():
                return Subject(self, name)
        # The remembered one is gone: the newest that is left.
        left = sorted(self.subjects(), key=lambda subject: (subject.path / _MANIFEST).stat().st_mtime)
        if not left:
            raise WorkspaceError(f"no avatar in {self.root} yet: make one with `avatar create photo.jpg`")
        if name is not None or len(left) > 1:
            why = "nobody knows which was made last" if name is None else f"the last one made, '{name[:60]}', is gone"
            progress.warn(f"{why}: taking the newest, {left[-1].name}; --subject NAME takes another")
        return left[-1]


class Subject:
    """One person's folder."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace = workspace
        self.name = name
        self.path = workspace.root / name

    def exists(self) -> bool:
        return (self.path / _MANIFEST).is_file()

    def manifest(self) -> Manifest:
        """The subject's manifest. Raises WorkspaceError when it cannot be read."""
        path = self.path / _MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.get("format_version") != FORMAT_VERSION:
                raise WorkspaceError(f"{path} was written by another version of avatarcli: run `avatar create` again")
            return Manifest(**content)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise WorkspaceError(f"cannot read {path}: delete it and run `avatar create` again") from error

    def save_manifest(self, manifest: Manifest) -> None:
        with _workspace_errors(self.path):
            content = json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n"
            # Bytes of a file's name that are no text become JSON's own escapes.
            write_atomically(self.path / _MANIFEST, content.encode(errors="backslashreplace"))

    def stage_path(self, stage: str) -> Path:
        """Where a finished stage lives, whether it is there or not."""
        return self.path / stage

    def record(self, stage: str) -> StageRecord | None:
        """What a finished stage says of itself, or None when there is none that can be read."""
        try:
            content = json.loads((self.path / stage / _RECORD).read_text(encoding="utf-8"))
            return StageRecord.from_json(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def damaged_file(self, stage: str, *, thorough: bool = True) -> str | None:
        """The first file of a finished stage that is missing or not what was written, or None when all are whole.

        thorough: compare what the files hold, not their sizes alone, which is quicker.
        """
        record = self.record(stage)
        if record is None:
            return _RECORD
        for name, entry in record.files.items():
            path = self.path / stage / name
            try:
                whole = path.stat().st_size == entry.size and (not thorough or sha256_file(path) == entry.sha256)
            except (OSError, ValueError):  # ValueError: a name that no file can have
                whole = False
            if not whole:
                return name
        return None

    def current(self, stage: str, fingerprint: str) -> StageRecord | None:
        """The record of a stage that was made for this fingerprint and whose files verify, else None."""
        record = self.record(stage)
        if record is None or record.fingerprint != fingerprint or self.damaged_file(stage) is not None:
            return None
        return record

    def outdated(self, stage: str) -> list[str]:
        """The stages to redo, in their order, until `stage` is again made of what is there; none when it is.

        An earlier stage that has been deleted outdates nothing.
        """
        record = self.record(stage)
        if record is None:
            return []
        redo: list[str] = []
        changed = False
        for name, content in record.inputs.items():
            redo += [earlier for earlier in self.outdated(name) if earlier not in redo]
            earlier_record = self.record(name)
            changed |= earlier_record is not None and earlier_record.content != content
        return [*redo, stage] if redo or changed else []

    def whole(self, stage: str, name: str) -> Path:
        """A file of a finished stage that is as it was written, and made of what the earlier stages hold now.

        Raises:
            WorkspaceError: the stage has not been finished, is damaged, or an earlier one was redone since.
        """
        path = self.artefact(stage, name)
        damaged = self.damaged_file(stage)
        if damaged is not None:
            raise WorkspaceError(f"{path.parent / damaged} is damaged: run `avatar {stage} --subject {self.name}`")
        if redo := self.outdated(stage):
            raise WorkspaceError(
                f"{path} is out of date, what it was made from has changed: run {redo_commands(self.name, redo)}"
            )
        return path

    def artefact(self, stage: str, name: str) -> Path:
        """A file of a finished stage, whole or not.

        Raises:
            WorkspaceError: the stage has not been finished.
        """
        path = self.path / stage / name
        if not path.exists() and self._previous(stage).exists():
            # Either another process is between its two renames, or one was killed there.
            for _ in range(40):
                with suppress(WorkspaceError), self.lock(wait=False):
                    break
                if path.exists():
                    break
                time.sleep(0.05)
        if not path.exists():
            raise WorkspaceError(f"{self.name} has no {stage}/{name} yet: run `avatar create` on the photo")
        return path

    def begin(self, stage: str, fingerprint: str) -> Path:
        """The folder to work in. It holds what an earlier run for the same fingerprint left, else nothing."""
        partial = self._partial(stage)
        with _workspace_errors(self.path):
            try:
                if (partial / _BEGUN_FOR).read_text() == fingerprint:
                    (partial / _RECORD).unlink(missing_ok=True)
                    return partial
            except (OSError, UnicodeDecodeError):
                pass
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write_atomically(partial / _BEGUN_FOR, fingerprint.encode())
        return partial

    def commit(
        self, stage: str, fingerprint: str, seconds: float, inputs: Mapping[str, str] | None = None
    ) -> StageRecord:
        """Make the working folder the finished stage. inputs: the `content` of each earlier stage that it was made from.

        Files and folders whose names begin with a dot are working files (checkpoints): they are removed.
        """
        partial = self._partial(stage)
        with _workspace_errors(self.path):
            for entry in list(partial.rglob(".*")):
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                elif entry != partial / _BEGUN_FOR:
                    entry.unlink(missing_ok=True)
            files = {}
            for path in sorted(partial.rglob("*")):
                if path.is_file() and path != partial / _BEGUN_FOR:
                    make_ordinary(path)
                    files[path.relative_to(partial).as_posix()] = FileRecord(path.stat().st_size, sha256_file(path))
            record = StageRecord(stage, fingerprint, round(seconds, 3), files, dict(inputs or {}))
            write_atomically(partial / _RECORD, json.dumps(asdict(record), indent=1).encode())
            self._promote(stage)
            (self.path / stage / _BEGUN_FOR).unlink(missing_ok=True)
        return record

    def abandon(self, stage: str) -> None:
        """Remove the working folder, and the subject's folder with it when nothing else is in it."""
        shutil.rmtree(self._partial(stage), ignore_errors=True)
        with suppress(OSError):
            self.path.rmdir()

    @contextmanager
    def lock(self, *, wait: bool = True, progress: Progress | None = None) -> Iterator[None]:
        """Hold the subject for this process. The system's own lock dies with the process, however it dies.

        Raises:
            WorkspaceError: another process has it and `wait` is False, or the lock cannot be made.
        """
        from filelock import FileLock, Timeout

        progress = progress or SilentProgress()
        # Beside the subjects, not inside them: a subject's folder may be deleted while another process waits.
        locks = self.workspace.root / _LOCKS
        holder = locks / f"{self.name}.json"
        with _workspace_errors(self.workspace.root):
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / f"{self.name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                who = f"{self.name} is being worked on by {_holder(holder)}"
                if not wait:
                    raise WorkspaceError(f"{who}; wait for it or stop it") from None
                progress.info(f"{who}; waiting for it")
                lock.acquire(poll_interval=0.2)
        try:
            with _workspace_errors(self.workspace.root):
                me = {"pid": os.getpid(), "host": socket.gethostname(), "command": _command()}
                write_atomically(holder, json.dumps(me).encode())
                self._repair()
            yield
        finally:
            with suppress(OSError):
                holder.unlink(missing_ok=True)
            lock.release()

    def _partial(self, stage: str) -> Path:
        return self.path / f".{stage}.partial"

    def _previous(self, stage: str) -> Path:
        return self.path / f".{stage}.previous"

    def _promote(self, stage: str) -> None:
        """Two renames: the old stage aside, the new one in."""
        final, partial, previous = self.path / stage, self._partial(stage), self._previous(stage)
        shutil.rmtree(previous, ignore_errors=True)
        if final.exists():
            os.rename(final, previous)
        os.rename(partial, final)
        shutil.rmtree(previous, ignore_errors=True)

    def _repair(self) -> None:
        """Finish what a process that was killed inside `_promote` began. Only under the lock."""
        if not self.path.is_dir():
            return
        for previous in self.path.glob(".*.previous"):
            stage = previous.name[1 : -len(".previous")]
            if (self.path / stage).exists():
                shutil.rmtree(previous, ignore_errors=True)
            elif (self._partial(stage) / _RECORD).exists():
                os.rename(self._partial(stage), self.path / stage)
                shutil.rmtree(previous, ignore_errors=True)
            else:
                os.rename(previous, self.path / stage)


def redo_commands(subject: str, stages: Sequence[str]) -> str:
    """What to type to redo some stages of a subject."""
    return " and ".join(f"`avatar {stage} --subject {subject}`" for stage in stages)


def _checked(name: str) -> str:
    if not _SUBJECT_NAME.fullmatch(name):
        raise UsageError(f"'{name}' cannot name a subject: use letters, digits, dashes, dots and underscores")
    return name


def _command() -> str:
    return " ".join(["avatar", *sys.argv[1:]])[:200]


def _holder(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return f"process {content['pid']} on {content['host']} ({content['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@contextmanager
def _workspace_errors(place: Path) -> Iterator[None]:
    """What the disk refuses becomes one line."""
    try:
        yield
    except OSError as error:
        problem = explain_io_error(error) or f"cannot write to {place}: {error.strerror or error}"
        raise WorkspaceError(problem) from error
