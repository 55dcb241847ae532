"""Outputs that appear whole or not at all, and what killed processes leave of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from avatarcli.errors import AvatarError, ExportError, UsageError
from avatarcli.files import finished_output, read_json, replacing, write_atomically, write_json
from children import kill, run_python


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "new" / "orbit.mp4"

    def fail_halfway() -> None:
        with finished_output(out, folder=False) as place:
            assert place.suffix == ".mp4"
            place.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert list(out.parent.iterdir()) == []
    for text in ("first", "second"):
        with finished_output(out, folder=False) as place:
            place.write_text(text)
        assert out.read_text() == text
    assert list(out.parent.iterdir()) == [out]


def test_an_output_inside_an_output_needs_no_folder_of_its_own(tmp_path: Path) -> None:
    for out, folder in ((tmp_path / "orbit.mp4", False), (tmp_path / "frames", True)):
        with finished_output(out, folder=folder) as place, finished_output(place, folder=folder) as inner:
            assert inner == place
            (place / "0.png" if folder else place).write_text("whole")
        assert out.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "orbit.mp4"]


def test_a_full_disk_is_said_with_the_name_of_the_output(tmp_path: Path) -> None:
    out = tmp_path / "orbit.mp4"
    with (
        pytest.raises(ExportError, match=r"^cannot write .*/orbit\.mp4: the disk is full"),
        finished_output(out, folder=False) as place,
        finished_output(place, folder=False),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ZeroDivisionError), finished_output(out, folder=False):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with replacing(path) as partial:
        partial.write_text("old")

    def fail_halfway() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


_STOPS_HALFWAY = """
import sys, time
from pathlib import Path
from avatarcli.files import finished_output
with finished_output(Path(sys.argv[1]), folder=False) as place:
    place.write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_beside_the_output_is_removed_the_next_time(tmp_path: Path) -> None:
    out = tmp_path / "orbit.mp4"
    killed, working = run_python(_STOPS_HALFWAY, out), run_python(_STOPS_HALFWAY, out)
    for child in (killed, working):
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
    kill(killed)
    (tmp_path / ".orbit.mp4.of_mine_").mkdir()
    assert len(list(tmp_path.iterdir())) == 3
    with finished_output(out, folder=False) as place:
        place.write_text("whole")
    left = [path for path in tmp_path.iterdir() if path != out]
    assert len(left) == 2  # that of the one at work, and what only looks like ours
    assert any((path / "orbit.mp4").exists() for path in left)
    kill(working)


def test_frames_do_not_mix_with_older_ones(tmp_path: Path) -> None:
    out = tmp_path / "frames"
    with finished_output(out, folder=True) as place:
        (place / "0000.png").write_text("")
    assert [path.name for path in out.iterdir()] == ["0000.png"]
    with pytest.raises(ExportError, match="not empty"), finished_output(out, folder=True):
        pass
    with pytest.raises(ExportError, match="is a folder"), finished_output(out, folder=False):
        pass


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [ExportError, UsageError])
def test_a_failed_output_is_known_by_the_name_that_the_user_gave(tmp_path: Path, kind: type[AvatarError]) -> None:
    out = tmp_path / "orbit.mp4"
    with pytest.raises(kind) as caught, finished_output(out, folder=False) as place:
        raise kind(f"cannot write {place}: the disk is full")
    assert str(caught.value) == f"cannot write {out}: the disk is full"
    assert list(tmp_path.iterdir()) == []


def test_json_comes_back_as_it_was_whatever_names_are_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {"name": "Zoë", "no text": os.fsdecode(b"\xff.mp4"), "size": [1, 2.5, None]}
    write_json(path, content)
    assert read_json(path) == content
    assert "Zoë" in path.read_text(encoding="utf-8")
    with pytest.raises(TypeError):
        write_json(path, {"size": {1, 2}})
    assert read_json(path) == content
    path.write_text("[" * 99_999)
    assert read_json(path) is None
    path.write_text("[1]")
    assert read_json(path) is None


def test_a_folder_is_replaced_where_all_in_it_may_go(tmp_path: Path) -> None:
    out = tmp_path / "frames"
    out.mkdir()
    (out / "old").touch()

    def may_go(path: Path) -> bool:
        return path.name != "mine"

    def write(*, disturbed: bool = False) -> None:
        with finished_output(out, folder=True, replaceable=may_go) as place:
            (place / "new").touch()
            if disturbed:
                (out / "mine").touch()

    with pytest.raises(ExportError, match="frames/mine is not one of our results"):
        write(disturbed=True)
    assert sorted(path.name for path in out.iterdir()) == ["mine", "old"]
    (out / "mine").unlink()
    write()
    assert [path.name for path in out.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [out]
