"""Where the viewer listens, and what its page is called there. Loads nothing heavy."""

from __future__ import annotations

import errno
import os
import socket

from avatarcli.errors import UsageError
from avatarcli.viewer.gate import Gate

# A documentation address (RFC 5737): "connecting" a UDP socket to it sends nothing, and tells which address of ours faces out.
_ELSEWHERE = ("192.0.2.1", 9)


def page_address(host: str, port: int, gate: Gate) -> str:
    """The URL to open."""
    if host in ("0.0.0.0", "::"):
        host = _own_address()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{gate.path}"


def check_address(host: str, port: int) -> None:
    """Raise UsageError unless this computer can listen there.

    Viser would wait for ever on an address that it cannot have, and take another port in silence.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            if os.name == "posix":  # as asyncio does: a port that was closed a moment ago is free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        raise UsageError(f"--host {host}: no such address; use 0.0.0.0 for all of this computer's") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(port_taken(port)) from None
        if error.errno == errno.EACCES:
            raise UsageError(f"--port {port}: this system keeps it for administrators; use one above 1023") from None
        raise UsageError(f"--host {host}: not an address of this computer ({error.strerror})") from None


def port_taken(port: int) -> str:
    """What to say when somebody else listens there."""
    return f"--port {port} is in use: name another, or leave it out to take the next free one"


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
