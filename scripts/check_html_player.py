"""Opens an exported HTML page in headless Chromium and compares what it draws with our own renderer.

    pip install playwright    # and a Chromium: `playwright install chromium`, or --chromium /usr/bin/chromium
    avatar export --format html -o ada.html
    python scripts/check_html_player.py ada.html avatars/ada/distill/avatar.safetensors --out out/player

Prints the PSNR of each picture, whether a slider moves the mouth, how fast the clips play, and every request that the
page makes. Fails when a picture is below 30 dB, nothing moves, or a request leaves the page.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from avatarcli.gaussians.avatar import Avatar
from avatarcli.gaussians.losses import psnr
from avatarcli.head.expressions import NAMED_EXPRESSIONS
from avatarcli.head.model import still_head

SIZE = 512
LEAST_PSNR = 30.0  # dB
PLAY_SECONDS = 4
LOOK = {
    "eyeLookOutLeft": 0.8,
    "eyeLookInRight": 0.8,
    "eyeLookDownLeft": 0.4,
    "eyeLookDownRight": 0.4,
    "mouthPucker": 0.7,
}
VIEWS = [  # yaw, pitch in degrees, expression
    (0.0, 0.0, {}),
    (0.0, 0.0, NAMED_EXPRESSIONS["open mouth"]),
    (45.0, 10.0, NAMED_EXPRESSIONS["smile"]),
    (-90.0, 0.0, NAMED_EXPRESSIONS["blink"]),
    (20.0, -20.0, LOOK),
    (180.0, 30.0, {}),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/player"), help="folder for the pictures")
    parser.add_argument("--chromium", help="path of the browser")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright, arguments.chromium)
        page = browser.new_page(viewport={"width": SIZE, "height": SIZE})
        requests: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        open_player(page, arguments.page)
        if errors:
            print("\n".join(errors))
            return 1
        failures = compare(page, Avatar.load(arguments.avatar), arguments.out)
        failures += try_controls(page, arguments.out)
        browser.close()
    outside = [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
    print(f"requests: {len(requests)}, leaving the page: {outside or 'none'}; errors: {errors or 'none'}")
    failures += [*outside, *errors]
    return 1 if failures else 0


def launch(playwright: Playwright, executable: str | None) -> Browser:
    """Chromium with WebGL in software: the browser at a path, or Playwright's own."""
    return playwright.chromium.launch(
        executable_path=executable, args=["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    )


def open_player(page: Page, file: Path) -> None:
    """Open an exported page and wait until the avatar is there, or the page says why not."""
    page.goto(file.resolve().as_uri())
    page.wait_for_function("globalThis.avatarPlayer || !document.querySelector('#message').textContent.endsWith('…')")


def show(page: Page, face: Mapping[str, float], yaw: float, pitch: float = 0.0) -> torch.Tensor:
    """What the page draws [H, W, 3], in [0, 1], of a face (weights by ARKit name) from a side (degrees)."""
    page.evaluate(
        "([face, yaw, pitch]) => { avatarPlayer.setExpression(face); avatarPlayer.setView(yaw, pitch);"
        " return avatarPlayer.settled(); }",
        [dict(face), yaw, pitch],
    )
    return screenshot(page)


def compare(page: Page, avatar: Avatar, out: Path) -> list[str]:
    """PSNR of fixed views against our renderer."""
    failures = []
    page.evaluate("document.body.classList.add('bare')")
    rig = avatar.rig()
    for index, (yaw, pitch, face) in enumerate(VIEWS):
        shown = show(page, face, yaw, pitch)
        parameters = still_head(face)
        angles = torch.deg2rad(torch.tensor([[yaw], [pitch]]))
        camera = avatar.framing.cameras(angles[0], angles[1], SIZE)[0]
        ours = avatar.render(rig, parameters, camera, torch.ones(3)).color.clamp(0, 1)
        agreement = psnr(shown, ours, torch.ones(SIZE, SIZE))
        print(f"yaw {yaw:g}, pitch {pitch:g}, {', '.join(face) or 'neutral'}: {agreement:.1f} dB")
        both = torch.cat([shown, ours, ((shown - ours).abs() * 8).clamp(0, 1)], dim=1)
        Image.fromarray((both * 255).byte().numpy()).save(out / f"view{index}.png")
        if agreement < LEAST_PSNR:
            failures.append(f"view {index}")
    page.evaluate("document.body.classList.remove('bare')")
    return failures


def try_controls(page: Page, out: Path) -> list[str]:
    """Sliders, the panel and playback, as a user would touch them."""
    failures = []
    page.set_viewport_size({"width": 1100, "height": 760})
    page.evaluate("avatarPlayer.setExpression({}); avatarPlayer.setView(0, 0)")
    page.evaluate("avatarPlayer.settled()")
    before = screenshot(page)
    page.screenshot(path=out / "page.png")
    page.fill("input[data-expression=jawOpen]", "0.8")
    page.evaluate("avatarPlayer.settled()")
    moved = (screenshot(page) - before)[:650, :800].abs().amax(-1) > 0.1  # without the panels
    page.screenshot(path=out / "slider.png")
    rows = moved.any(1).nonzero()[:, 0].tolist()
    print(f"jawOpen changes {int(moved.sum())} pixels, rows {rows[0]} to {rows[-1]}" if rows else "jawOpen: nothing")
    failures += [] if moved.sum() > 500 else ["slider"]
    page.set_viewport_size({"width": SIZE, "height": SIZE})
    for clip in range(page.locator("#clip option").count()):
        page.evaluate("index => { avatarPlayer.actions().clip(index); avatarPlayer.playing = true; }", clip)
        first = page.evaluate("avatarPlayer.done")
        page.wait_for_timeout(PLAY_SECONDS * 1000)
        last = page.evaluate("avatarPlayer.done")
        frames, work = last["frames"] - first["frames"], last["milliseconds"] - first["milliseconds"]
        name = page.locator("#clip option").nth(clip).inner_text()
        print(
            f"{name}: {frames / PLAY_SECONDS:.1f} frames/s in software, {work / max(frames, 1):.1f} ms to pose and sort"
        )
        failures += [] if frames > 1 else [f"clip {clip}"]
        page.screenshot(path=out / f"clip{clip}.png")
    return failures


def screenshot(page: Page) -> torch.Tensor:
    """The page [H, W, 3] in [0, 1]."""
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).float() / 255


if __name__ == "__main__":
    sys.exit(main())
