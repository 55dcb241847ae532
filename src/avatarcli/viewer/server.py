"""Viser's server behind our gate, on a port that is free."""

from __future__ import annotations

import http
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import rich
import viser
import websockets.asyncio.server
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from avatarcli.errors import UsageError
from avatarcli.viewer.address import check_address, port_taken
from avatarcli.viewer.gate import Gate
from avatarcli.viewer.page import dress

DEFAULT_PORT = 8080  # the first one tried
_FORBIDDEN = "403 Forbidden: use the whole address as printed; behind a proxy, start `avatar view` with --token\n"


class GatedServer(viser.ViserServer):
    """A viser server whose every request, page and websocket alike, passes a gate first."""

    def __init__(self, host: str, port: int, gate: Gate, label: str) -> None:
        # Viser reports on stdout, which belongs to results, and warns of frames for a page that was closed a moment ago.
        rich.reconfigure(quiet=True)
        warnings.filterwarnings("ignore", "Queued a .* on a closed connection")
        with _gated_sockets(gate, f"{label} · avatarcli") as used:
            super().__init__(host=host, port=port, label=label, verbose=False)
        if not used:
            self.stop()
            raise RuntimeError(f"viser {viser.__version__} no longer serves through websockets' asyncio server")

    def request_share_url(self, verbose: bool = True) -> None:
        """Viser's tunnel to a public server: never opened, whatever a client asks for."""


def open_server(host: str, port: int | None, gate: Gate, label: str) -> GatedServer:
    """Serve on `port` (0: any), or on the first free one from DEFAULT_PORT on when it is None.

    Raises:
        UsageError: the address is not this computer's, or the port is taken or forbidden.
    """
    check_address(host, 0 if port is None else port)
    server = GatedServer(host, DEFAULT_PORT if port is None else port, gate, label)
    if port and server.get_port() != port:  # taken between the check and now
        server.stop()
        raise UsageError(port_taken(port))
    return server


@contextmanager
def _gated_sockets(gate: Gate, title: str) -> Iterator[list[bool]]:
    """Put the gate in front of what websockets serves while this block runs, and our title on the page; the list says whether
    anything was served.

    Viser has no hook for it: it names its own `process_request` when its thread starts to serve, which is before its constructor
    returns. That request is wrapped here.
    """
    serve = websockets.asyncio.server.serve
    used: list[bool] = []

    def serve_gated(*arguments: Any, process_request: Any, **options: Any) -> Any:
        def process(connection: ServerConnection, request: Request) -> Response | None:
            headers = request.headers
            path = gate.admit(request.path, headers.get("Host", ""), headers.get("Origin"))
            if path is None:
                return connection.respond(http.HTTPStatus.FORBIDDEN, _FORBIDDEN)
            answer: Response | None = process_request(connection, replace(request, path=path))
            if answer is not None:
                dress(answer, title)
                answer.headers["Referrer-Policy"] = "no-referrer"  # the address holds the token
                answer.headers["X-Frame-Options"] = "DENY"
            return answer

        used.append(True)
        return serve(*arguments, process_request=process, **options)

    websockets.asyncio.server.serve = serve_gated  # type: ignore[assignment, misc]
    try:
        yield used
    finally:
        websockets.asyncio.server.serve = serve  # type: ignore[misc]
