"""Who may reach the viewer: this computer's own browser, or whoever has the token of the address."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

_TOKEN_BYTES = 24  # 192 bits: nobody guesses it
_DEEPEST = 16  # parts of a path that are compared with the token: a proxy's prefix is shorter


@dataclass(frozen=True)
class Gate:
    """Decides on every request before it reaches the viewer.

    token: a part that paths must have: the first, or behind a proxy the one after its prefix. None: no token, but only requests
    that a page of this computer's own address makes (another site that the browser has open could otherwise connect to
    localhost, or point its own name at it).
    """

    token: str | None

    @classmethod
    def for_host(cls, host: str, *, token: bool = False) -> Gate:
        """No token on a loopback address unless `token` asks for it, a fresh random one on any other."""
        return cls(secrets.token_urlsafe(_TOKEN_BYTES) if token or not is_loopback(host) else None)

    @property
    def path(self) -> str:
        """Where the page is."""
        return "/" if self.token is None else f"/{self.token}/"

    def admit(self, path: str, host: str, origin: str | None) -> str | None:
        """The path behind the gate of a request for `path`, or None when it must be refused.

        host: the request's Host header. origin: its Origin header, which browsers send with websockets.
        """
        if self.token is None:
            same = origin is None or urlsplit(origin).netloc == host
            return path if same and is_loopback(urlsplit(f"//{host}").hostname or "") else None
        bare, mark, query = path.partition("?")
        parts = bare.removeprefix("/").split("/")
        for index, given in enumerate(parts[:_DEEPEST]):
            if hmac.compare_digest(given.encode(), self.token.encode()):
                return f"/{'/'.join(parts[index + 1 :])}{mark}{query}"
        return None


def is_loopback(host: str) -> bool:
    """Whether a name or address can only mean this computer."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
