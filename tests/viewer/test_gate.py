"""Who is let in."""

from __future__ import annotations

import pytest

from avatarcli.viewer.gate import Gate, is_loopback

SECRET = "s3cr3t-token"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "::1"])
def test_this_computer_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert Gate.for_host(host) == Gate(None)
    assert Gate(None).path == "/"
    asked = Gate.for_host(host, token=True)
    assert asked.token is not None
    assert len(asked.token) >= 32


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.com", "localhost.example.com", ""])
def test_other_addresses_get_a_fresh_long_token(host: str) -> None:
    one, other = Gate.for_host(host).token, Gate.for_host(host).token
    assert one is not None
    assert other is not None
    assert one != other
    assert len(one) >= 32


@pytest.mark.parametrize(
    ("path", "behind"),
    [
        (f"/{SECRET}", "/"),
        (f"/{SECRET}/", "/"),
        (f"/{SECRET}/index.html?x=1", "/index.html?x=1"),
        (f"/{SECRET}?websocket=a/b", "/?websocket=a/b"),
        ("/", None),
        ("", None),
        (f"/{SECRET}x/", None),
        (f"/{SECRET[:-1]}/", None),
        (f"/{SECRET.upper()}/", None),
        (f"/?token={SECRET}", None),
        (f"/prefix/of/a/proxy/{SECRET}", "/"),
        (f"/prefix/{SECRET}/index.html?x=1", "/index.html?x=1"),
        (f"{'/x' * 100}/{SECRET}", None),
        ("/é", None),
    ],
)
def test_the_token_is_a_part_of_the_path(path: str, behind: str | None) -> None:
    assert Gate(SECRET).admit(path, "10.0.0.1:8080", None) == behind


@pytest.mark.parametrize(
    ("host", "origin", "admitted"),
    [
        ("127.0.0.1:8080", None, True),
        ("localhost:9000", "http://localhost:9000", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("127.0.0.1:8080", "http://evil.example", False),  # another site's page
        ("127.0.0.1:8080", "http://127.0.0.1:3000", False),  # another program's page
        ("127.0.0.1:8080", "null", False),
        ("evil.example:8080", "http://evil.example:8080", False),  # a name that was pointed at this computer
        ("", None, False),
    ],
)
def test_without_a_token_only_our_own_page_may_ask(host: str, origin: str | None, admitted: bool) -> None:
    assert Gate(None).admit("/x", host, origin) == ("/x" if admitted else None)
