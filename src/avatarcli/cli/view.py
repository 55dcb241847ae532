"""`avatar view`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from avatarcli.cli import option_groups, options
from avatarcli.errors import UsageError


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: avatar view --subject ada")(option_groups.flat(view))


def view(
    *,
    choice: option_groups.AvatarChoice,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Where to listen. Any address but 127.0.0.1 puts a secret token in the URL."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=65535, help="Default: the first free one from 8080 on.")
    ] = None,
    token: Annotated[
        bool, typer.Option("--token", help="Put the token in the URL on 127.0.0.1 too, for use behind a proxy.")
    ] = False,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Whether to open a browser.")] = True,
    expr: Annotated[
        list[Path] | None,
        typer.Option("--expr", metavar="CLIP", help="A clip of yours, of any kind, to offer beside ours; repeatable."),
    ] = None,
    background: Annotated[str, typer.Option(metavar="COLOR", help="A name or a hex color.")] = "white",
    camera: Annotated[int, typer.Option(metavar="N", min=0, help="Which camera may drive the face.")] = 0,
    device: options.Device = "auto",
    answer: option_groups.Answer,
) -> None:
    """Show the avatar live in a browser.

    Turn it, move its face, play clips, drive it with a camera. Ctrl-C ends it.
    """
    from avatarcli.stages.artefacts import AVATAR_FILE
    from avatarcli.stages.driver import Driver
    from avatarcli.stages.render_request import parse_background
    from avatarcli.system import check_extra
    from avatarcli.viewer.address import check_address

    # What cannot work is refused before anything slow begins.
    check_extra("view", "avatar view")
    color = parse_background(background)
    if not isinstance(color, tuple):
        raise UsageError(f"--background {background}: a page has one color; name it")
    target = choice.find()
    target.whole("distill", AVATAR_FILE)
    check_address(host, port or 0)
    console = answer.console
    drivers = [Driver.load(clip, note=console.info, warn=console.warn) for clip in expr or []]
    clips = {driver.name: driver.clip for driver in drivers}
    from avatarcli.stages.view import ViewRequest, view_subject

    def ready(url: str, computes_on: str) -> None:
        answer.give({"subject": target.name, "url": url, "device": computes_on}, url)
        sys.stdout.flush()  # the reader of a pipe waits for it
        console.info("Ctrl-C ends it.")

    request = ViewRequest(
        host=host, port=port, background=color, clips=clips, camera=camera, open_browser=open_browser, token=token
    )
    view_subject(target, request, device=device, progress=console, ready=ready)
