"""How commands end that are stopped, cannot write, or meet a defect."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_defect_shows_its_traceback_only_on_demand() -> None:
    code = (
        "import sys\nfrom avatarcli.cli import main\n"
        "@main.app.command()\ndef burst(): raise KeyError('deep inside')\n"
        "sys.argv = ['avatar', 'burst']\nmain.main()"
    )
    for debug in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, env={**os.environ, "AVATAR_DEBUG": debug}, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) == bool(debug)
        assert "error: this is a defect of avatarcli: KeyError: 'deep inside'" in done.stderr.splitlines()[-1]


def test_a_closed_pipe_is_silent() -> None:
    writer = subprocess.Popen(
        [sys.executable, "-m", "avatarcli", "weights", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert writer.stdout is not None
    writer.stdout.close()
    assert writer.stderr is not None
    assert writer.stderr.read() == b""
    writer.stderr.close()
    writer.wait()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", [("weights", "list"), ("weights", "list", "--json"), ("--help",)])
def test_a_full_disk_under_stdout_is_one_line(command: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "avatarcli", *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "error: the disk is full: free some space and run the command again\n"


def test_sigterm_ends_a_command_as_an_error_does(tmp_path: Path) -> None:
    """`timeout`, `docker stop` and queues of jobs send it: nothing half-written may stay."""
    code = (
        "import signal\nfrom pathlib import Path\nfrom avatarcli.cli import main\nfrom avatarcli.files import finished_output\n"
        "@main.app.command()\ndef work():\n"
        "    with finished_output(Path('out.txt'), folder=False) as place:\n"
        "        place.write_text('half')\n        signal.raise_signal(signal.SIGTERM)\n"
        "import sys\nsys.argv = ['avatar', 'work']\nmain.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_the_program_is_being_loaded_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    done = subprocess.run(
        [sys.executable, "-m", "avatarcli", "list"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
