"""The render processes of one training process: started, throttled and ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list

from avatarcli.devices import visible_gpus
from avatarcli.errors import WorkspaceError
from avatarcli.files import write_atomically
from avatarcli.training.agreement import Process
from avatarcli.training.pool.renderer import CONTROL_FILE, LOG_FILE, Orders

_MPS = "nvidia-cuda-mps-control"
_ENDING = 4.0  # seconds for a person that is being rendered


class Renderers:
    """Processes that fill `folder` with people. They begin with their full share of the time."""

    def __init__(self, orders: Orders, service: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="avatar-pool-"))
        orders.write(self.folder)
        self.throttle(1.0)
        environment = {
            **os.environ,
            # Compiling for a process that lives for minutes costs more than it gains.
            "TORCHDYNAMO_DISABLE": "1",
            # Asking for a GPU must not open it: the first process has to fork.
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTORCH_CUDA_ALLOC_CONF": "garbage_collection_threshold:0.8",
        }
        if orders.device == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = visible_gpus()[torch.cuda.current_device()]
        if service is not None:
            environment["CUDA_MPS_PIPE_DIRECTORY"] = str(service)
        with (self.folder / LOG_FILE).open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "avatarcli.training.pool.renderer", str(self.folder)],
                env=environment,
                start_new_session=True,  # so that all of them can be ended together
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def throttle(self, duty: float) -> None:
        """Let them work for a share of the time."""
        write_atomically(self.folder / CONTROL_FILE, json.dumps({"duty": duty}).encode())

    def files(self) -> list[Path]:
        """People that wait, the earliest number first."""
        return sorted(self.folder.glob("[!.]*.safetensors"), key=lambda path: path.name.split("_")[1:])

    def check(self) -> None:
        """Raise WorkspaceError when they have ended on their own."""
        if (code := self._process.poll()) is not None:
            raise WorkspaceError(f"the render processes have ended: {self.last_words() or f'exit code {code}'}")

    def last_words(self) -> str:
        """The last line of what they have said: why somebody could not be rendered."""
        lines = (self.folder / LOG_FILE).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def end(self) -> None:
        """Wait until they have ended, and remove the folder."""
        with suppress(OSError):
            (self.folder / CONTROL_FILE).unlink()
        try:
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class GpuSharing:
    """NVIDIA's multi-process service for the render processes of this machine: without it they take turns on a GPU.

    The training does not go through it. Where the program is not installed, or does not start, there is none.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        if shutil.which(_MPS) is None:
            return
        self.folder = Path(tempfile.mkdtemp(prefix="avatar-mps-"))
        started = subprocess.run([_MPS, "-d"], env=self._environment(), capture_output=True, timeout=30, check=False)
        if started.returncode:
            self.end()

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CUDA_MPS_PIPE_DIRECTORY": str(self.folder),
            "CUDA_MPS_LOG_DIRECTORY": str(self.folder),
        }

    def end(self) -> None:
        """Stop the service, if there is one."""
        if self.folder is None:
            return
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [_MPS], input=b"quit\n", env=self._environment(), capture_output=True, timeout=30, check=False
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None


def start_renderers(orders: Orders, process: Process) -> tuple[Renderers, GpuSharing | None]:
    """The renderers of a training process, and in the first process the service that those of all share; every process must ask."""
    sharing = GpuSharing() if process.device.type == "cuda" and process.rank == 0 else None
    folder = [sharing.folder if sharing else None]
    broadcast_object_list(folder)
    return Renderers(orders, folder[0]), sharing
