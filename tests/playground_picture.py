"""Draws docs/images/playground.png: the page at `/`, one question at three budgets on the shipped model.

`python -m tests.playground_picture [flags of thinkdial serve]`, again whenever the page, the model or its
curve has changed. Its type is that of the machine; with the Debian package fonts-inter it is Inter.
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect

from serve.launch import start_server
from tests.browsing import chromium

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "playground.png"
MOST_BYTES = 200_000
WIDTH = 1180
SHARPNESS = 1.5
COLOURS = 255
BUDGETS = {"A": "16", "B": "48", "C": "no limit"}
"""Of the three columns."""


def main() -> None:
    with start_server(args=sys.argv[1:]) as server, chromium() as browser:
        page = browser.new_page(
            viewport={"width": WIDTH, "height": 800}, device_scale_factor=SHARPNESS, reduced_motion="reduce"
        )
        page.goto(f"{server.base_url}/")
        for _ in range(len(BUDGETS) - 1):
            page.get_by_role("button", name="Compare another budget").click()
        for letter, budget in reversed(BUDGETS.items()):
            field = page.get_by_label(f"Thinking tokens of budget {letter}")
            field.fill(budget)
            field.press("Tab")
        page.get_by_text("Sampling and early-stop text").click()
        page.get_by_label("temperature").fill("0")
        page.get_by_text("Sampling and early-stop text").click()
        page.get_by_role("button", name="race").click()
        page.get_by_role("button", name="Ask", exact=True).click()
        for cause in page.locator(".cause").all():
            expect(cause).not_to_be_empty()
        page.evaluate("document.activeElement.blur()")
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    # The page has few colours: a palette is a third of the size.
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    size = PICTURE.stat().st_size
    print(f"{PICTURE}: {picture.width} x {picture.height}, {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(
            f"{PICTURE} has {size:,} bytes, more than {MOST_BYTES:,}; lower SHARPNESS or COLOURS"
        )


if __name__ == "__main__":
    main()
