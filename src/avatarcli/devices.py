"""Which device to compute on."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

from avatarcli.config import DeviceName
from avatarcli.errors import DeviceError
from avatarcli.progress import Progress

INSTALL_GSPLAT = "pip install 'avatarcli[gpu]'"


def resolve_device(requested: DeviceName, progress: Progress) -> str:
    """ "cpu" or "cuda". "auto" takes the GPU when it can draw Gaussians, and says so when it is there but cannot.

    Raises:
        DeviceError: "cuda" was asked for and cannot be used.
    """
    if requested == "cpu":
        return "cpu"
    problem = cuda_problem()
    if problem is None:
        problem = gsplat_problem()
        if problem is None:
            return "cuda"
        if requested == "auto":
            progress.warn(f"not using the GPU: {problem}")
    if requested == "cuda":
        raise DeviceError(f"--device cuda cannot work: {problem}; or use --device cpu")
    return "cpu"


def cuda_problem() -> str | None:
    """Why torch cannot use a GPU, with the mend, or None when it can."""
    import torch

    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return "this torch is built for CPUs only, install a CUDA build (https://pytorch.org/get-started/locally)"
    return "torch finds no CUDA GPU, check `nvidia-smi` and the driver"


def gsplat_problem() -> str | None:
    """Why gsplat, which draws Gaussians on the GPU, does not work, with the mend, or None when it does.

    The first call on a machine compiles gsplat's kernels, which takes a minute or two.
    """
    try:
        # It reports its build on stdout, which belongs to results.
        with contextlib.redirect_stdout(sys.stderr):
            from gsplat.cuda._backend import _C
    except ModuleNotFoundError as error:
        if error.name == "gsplat":
            return f"gsplat is not installed, run: {INSTALL_GSPLAT}"
        return f"gsplat needs {error.name}, run: {INSTALL_GSPLAT}"
    except Exception as error:  # its build on first use fails in many ways: a compiler's, a linker's, torch's
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return f"gsplat could not build its kernels ({reason[:120]}), check that nvcc matches torch's CUDA"
    if _C is None:
        return "gsplat found no CUDA toolkit to build its kernels with, install one (nvcc) or a prebuilt gsplat wheel"
    return None


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES knows them by."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return (visible.split(",") if visible else [str(index) for index in range(count)])[:count]


def computes_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 by instructions of its own: else it is slower there than in float32."""
    import torch

    # Of torch 2.12 and later; with an older one float32 it is.
    capabilities: Callable[[], dict[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    found = capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
