"""Uses `avatar view` as a person would, in headless Chromium, and says what works.

    pip install playwright    # and a Chromium: `playwright install chromium`, or --chromium /usr/bin/chromium
    python scripts/check_viewer.py --workspace avatars --out out/viewer

Checks that a slider changes the picture, a clip plays, a recording is a whole MP4, a second page shares the face but not the
camera, closing the pages frees what they took, and a wrong token gets 403 for the page and for the websocket. Leaves pictures
to look at.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

WIDTH, HEIGHT = 1000, 640
LEFT_OF_PANEL = 640  # columns of the page that the controls do not cover
CHANGED = 24  # of 255: a pixel that differs this much changed
PATIENCE = 180.0  # seconds for something to happen: software WebGL on a busy machine draws a frame a second
RECORD_SECONDS = 3
IDLE_SECONDS = 4


@dataclass(frozen=True)
class Server:
    """A running `avatar view`."""

    process: subprocess.Popen[str]
    url: str

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path("avatars"))
    parser.add_argument("--subject", help="default: the last one made")
    parser.add_argument("--out", type=Path, default=Path("out/viewer"), help="folder for the pictures")
    parser.add_argument("--chromium", help="path of the browser")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "avatarcli", "view", "--workspace", str(arguments.workspace)]
    command += ["--subject", arguments.subject] if arguments.subject else []
    failures: list[str] = []

    def check(name: str, passed: bool, detail: object = "") -> None:
        print(f"{'ok  ' if passed else 'FAIL'} {name}{f': {detail}' if detail != '' else ''}", flush=True)
        if not passed:
            failures.append(name)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=arguments.chromium, args=["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        )
        with running(command) as server:
            use_page(server, browser, arguments.out, check)
        check("Ctrl-C ends it with 0", server.process.returncode == 0, server.process.returncode)
        with running([*command, "--host", "0.0.0.0"]) as server:
            try_tokens(server, browser, arguments.out, check)
        browser.close()
    return 1 if failures else 0


Check = Callable[..., None]


@contextmanager
def running(command: list[str]) -> Iterator[Server]:
    """`avatar view` on any free port, interrupted in the end."""
    process = subprocess.Popen([*command, "--no-open", "--json", "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("avatar view did not start")
            said += line
        yield Server(process, json.loads(said)["url"])
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


def use_page(server: Server, browser: Browser, out: Path, check: Check) -> None:
    descriptors = server.descriptors()
    page, requests, errors = open_page(server.url, browser)
    page.screenshot(path=out / "page.png")
    try_controls(page, out, check)
    record(page, out, check)
    other, _, _ = open_page(server.url, browser)
    share(page, other, out, check)
    outside = [url for url in requests if not url.startswith(("data:", "blob:", server.url))]
    check("no request leaves the computer", not outside, outside or f"{len(requests)} requests")
    check("no errors on the page or in its console", not errors, errors or "none")
    check("the page has our title", page.title().endswith(" · avatarcli"), page.title())
    tab(page, "Motion")
    page.get_by_role("button", name="Play", exact=True).click()
    page.context.close()
    other.context.close()
    time.sleep(2)
    before = server.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    used = server.cpu_seconds() - before
    check("closed pages cost nothing", used < 0.05 * IDLE_SECONDS, f"{used:.2f} CPU seconds in {IDLE_SECONDS}")
    left = server.descriptors() - descriptors
    check("closed pages leave nothing open", left <= 0, f"{left} file descriptors")


def try_controls(page: Page, out: Path, check: Check) -> None:
    """Both ways of drawing: a slider, a named face and a clip."""
    start = picture(page)
    page.get_by_text("Jaw", exact=True).click()
    slider(page, "jaw open").press("End")
    check("a slider changes the picture", changes(page, start), "drawn by the browser")
    page.screenshot(path=out / "browser.png")
    tab(page, "Picture")
    page.get_by_label("Drawn by").click()
    opened = picture(page)
    page.get_by_role("option", name="the server").click()
    page.wait_for_timeout(1000)

    def difference() -> float:
        return float(np.abs(picture(page) - opened).mean())

    same = settles(lambda: difference() < 3)
    page.screenshot(path=out / "server.png")
    check("browser and server draw the same", same, f"{difference():.2f} of 255 on average")
    tab(page, "Face")
    start = picture(page)
    page.get_by_role("button", name="smile").click()
    check("a named face changes the picture", changes(page, start), "drawn by the server")
    check("the slider follows", settles(lambda: slider(page, "jaw open").get_attribute("aria-valuenow") == "0"))
    tab(page, "Head")
    start = picture(page)
    slider(page, "Turn").press("End")
    check("the head turns", changes(page, start))
    page.screenshot(path=out / "turn.png")
    tab(page, "Motion")
    start = picture(page)
    page.get_by_role("button", name="Play", exact=True).click()
    check("a clip plays", changes(page, start) and changes(page, picture(page)))
    moved = settles(lambda: float(slider(page, "Time (s)").get_attribute("aria-valuenow") or 0) > 0.2)
    check("the timeline moves", moved)
    page.screenshot(path=out / "playing.png")


def record(page: Page, out: Path, check: Check) -> None:
    page.get_by_role("button", name="Record a video").click()
    page.wait_for_timeout(RECORD_SECONDS * 1000)
    with page.expect_download(timeout=5 * PATIENCE * 1000) as download:
        page.get_by_role("button", name="Stop and save").click()
    path = out / "recorded.mp4"
    download.value.save_as(path)
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
        rate = float(stream.average_rate or 0)
    motion = float(np.abs(frames[0].astype(float) - frames[-1]).mean())
    detail = f"{len(frames)} frames of {frames[0].shape[1]} × {frames[0].shape[0]} at {rate:g}/s, motion {motion:.1f}"
    check("a recording is a whole MP4", len(frames) >= 0.8 * RECORD_SECONDS * rate > 0 and motion > 0.5, detail)
    with page.expect_download() as download:
        page.get_by_role("button", name="Screenshot").click()
    download.value.save_as(out / "screenshot.png")
    with Image.open(out / "screenshot.png") as image:
        check("a screenshot is a PNG", image.format == "PNG" and min(image.size) > 400, image.size)


def share(page: Page, other: Page, out: Path, check: Check) -> None:
    """One face, two cameras."""
    tab(page, "Motion")
    page.get_by_role("button", name="Pause", exact=True).click()
    tab(page, "Face")
    page.get_by_role("button", name="neutral").click()
    page.wait_for_timeout(4000)
    both = picture(page), picture(other)
    page.get_by_role("button", name="open mouth").click()
    check("a second page shows the same face", changes(page, both[0]) and changes(other, both[1]))
    page.wait_for_timeout(4000)
    both = picture(page), picture(other)
    other.get_by_role("button", name="left", exact=True).click()
    turned = changes(other, both[1])
    page.wait_for_timeout(2000)
    kept = changed_pixels(picture(page), both[0])
    check("each page has its own camera", turned and kept < 50, f"{kept} pixels changed on the first")
    other.screenshot(path=out / "second.png")


def try_tokens(server: Server, browser: Browser, out: Path, check: Check) -> None:
    parts = urlsplit(server.url)
    base, token = f"127.0.0.1:{parts.port}", parts.path.strip("/")
    check("the URL has a long token", len(token) >= 32, f"{len(token)} characters")
    wrong = ("A" if token[0] != "A" else "B") + token[1:]
    for name, path, wanted in (("no", "", 403), ("a wrong", wrong, 403), ("the right", token, 200)):
        got = (page_status(f"http://{base}/{path}"), websocket_status(f"ws://{base}/{path}"))
        check(f"{name} token", got == (wanted, 101 if wanted == 200 else 403), f"page {got[0]}, websocket {got[1]}")
    page, _, errors = open_page(f"http://{base}/{token}/", browser)
    page.screenshot(path=out / "token.png")
    check("the page works behind its token", not errors, errors or "none")
    page.context.close()


def page_status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def websocket_status(url: str) -> int:
    try:
        with connect(url, open_timeout=PATIENCE):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def open_page(url: str, browser: Browser) -> tuple[Page, list[str], list[str]]:
    """A page that shows the avatar, what it requests from now on, and its errors."""
    page = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}).new_page()
    page.set_default_timeout(PATIENCE * 1000)
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(url)
    page.get_by_role("button", name="Screenshot").wait_for()
    if not settles(lambda: float(picture(page).std()) > 20):
        raise RuntimeError("the page stays empty")
    page.wait_for_timeout(5000)  # it fades in
    return page, requests, errors


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def slider(page: Page, label: str) -> Locator:
    identity = page.locator("label", has_text=label).first.get_attribute("for")
    return page.locator(f"[id='{identity}']").get_by_role("slider")


def picture(page: Page) -> NDArray[np.float64]:
    """What the page shows left of the controls [H, W, 3], 0 to 255."""
    shot = page.screenshot(
        clip={"x": 0, "y": 200, "width": LEFT_OF_PANEL, "height": HEIGHT - 200}, timeout=PATIENCE * 1000
    )
    with Image.open(io.BytesIO(shot)) as image:
        return np.asarray(image.convert("RGB"), np.float64)


def changed_pixels(one: NDArray[np.float64], other: NDArray[np.float64]) -> int:
    return int((np.abs(one - other).max(-1) > CHANGED).sum())


def changes(page: Page, before: NDArray[np.float64]) -> bool:
    """Whether the picture becomes another one."""
    return settles(lambda: changed_pixels(picture(page), before) > 300)


def settles(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


if __name__ == "__main__":
    sys.exit(main())
