"""`avatar doctor`: what is missing for avatarcli to work here, and how to mend it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import typer

from avatarcli.cli import options
from avatarcli.cli.console import print_json
from avatarcli.errors import AvatarError
from avatarcli.export.formats import PICTURE_FORMATS
from avatarcli.workspace import Workspace


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "optional", "missing"]  # optional: without it some things are slower, or not there
    detail: str
    mend: str | None = None


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar doctor")(doctor)


def doctor(workspace: options.Workspace = None, json: options.Json = False) -> None:
    """Check that this machine has all that avatarcli needs.

    What is missing is listed with the command that brings it.
    """
    checks = []
    for check in _checks(Workspace(workspace)):
        checks.append(check)
        if not json:
            mend = f"; {check.mend}" if check.mend else ""
            print(f"{check.state:<8}  {check.name}: {check.detail}{mend}", flush=True)
    if json:
        print_json({"checks": [asdict(check) for check in checks]})
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(1)


def _checks(workspace: Workspace) -> Iterator[Check]:
    supported = (3, 10) <= sys.version_info[:2] < (3, 14)
    yield Check(
        "Python",
        "ok" if supported else "missing",
        platform.python_version(),
        None if supported else "use Python 3.10 to 3.13",
    )
    yield from _torch()
    yield from _mediapipe()
    yield from _encoders()
    yield from _extras()
    yield from _weights()
    try:
        workspace.check_writable()
        yield Check("workspace", "ok", str(workspace.root.absolute()))
    except AvatarError as error:
        yield Check("workspace", "missing", str(error), "choose another with --workspace or AVATAR_WORKSPACE")


def _torch() -> Iterator[Check]:
    try:
        import torch

        from avatarcli.devices import cuda_problem, gsplat_problem
    except (ImportError, OSError) as error:
        yield Check("torch", "missing", _first_line(error), "run: pip install torch")
        return
    yield Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} CPU threads")
    problem = cuda_problem()
    if problem is not None:
        yield Check("CUDA", "optional", f"not used, avatars are made on the CPU: {problem}")
        return
    yield Check("CUDA", "ok", f"{torch.version.cuda}, {torch.cuda.get_device_name()}")
    problem = gsplat_problem()
    if problem is not None:
        yield Check("gsplat", "optional", f"the GPU is not used: {problem}")
    else:
        yield Check("gsplat", "ok", "ready")


def _mediapipe() -> Iterator[Check]:
    from avatarcli.system import install_command, missing_libraries

    packages = missing_libraries()
    if packages:
        yield Check(
            "system libraries", "missing", f"MediaPipe needs {', '.join(packages)}", f"run: {install_command(packages)}"
        )
    else:
        yield Check("system libraries", "ok", "all that MediaPipe needs")
    try:
        # The package alone does not load its native half; this does.
        from mediapipe.tasks.python import vision  # noqa: F401
    except (ImportError, OSError) as error:
        yield Check("mediapipe", "missing", _first_line(error), "run: pip install mediapipe")
        return
    yield Check("mediapipe", "ok", "loads")


def _encoders() -> Iterator[Check]:
    try:
        import av
    except (ImportError, OSError) as error:
        yield Check("PyAV", "missing", _first_line(error), "run: pip install av")
        return
    for form in PICTURE_FORMATS:
        if form.codec is None:
            continue
        encoder, suffix = form.codec.encoder, form.kind.upper()
        if encoder in av.codecs_available:
            yield Check(f"{suffix} encoder", "ok", f"{encoder}, PyAV {av.__version__}")
        else:
            mend = "run: pip install --force-reinstall av"
            yield Check(f"{suffix} encoder", "missing", f"this PyAV has no {encoder}", mend)


def _extras() -> Iterator[Check]:
    from avatarcli.system import EXTRAS, install_extra, missing_packages

    for extra in EXTRAS:
        if missing := missing_packages(extra):
            yield Check(
                f"extra {extra}", "optional", f"without {' and '.join(missing)}", f"run: {install_extra(extra)}"
            )
        else:
            yield Check(f"extra {extra}", "ok", "installed")


def _weights() -> Iterator[Check]:
    from avatarcli.weights.shipped import verify_all

    try:
        checks = verify_all()
    except AvatarError as error:
        yield Check("weights", "missing", str(error))
        return
    for check in checks:
        if check.error is not None:
            yield Check("weights", "missing", check.error)
    if all(check.error is None for check in checks):
        yield Check("weights", "ok", f"{len(checks)} files verified")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
