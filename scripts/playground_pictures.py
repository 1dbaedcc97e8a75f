"""The pictures in docs/playground: both languages, light and dark, phone and desktop.

    python scripts/playground_pictures.py

Needs Chromium and a Chinese font (Debian: chromium, fonts-wqy-microhei).
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
from playwright.sync_api import Browser, sync_playwright

PORT = 8765
FOLDER = Path(__file__).parents[1] / "docs" / "playground"
PICTURES = {
    "blanks": ("en-US", "light", 1000, "#/blanks"),
    "blanks-zh": ("zh-CN", "light", 1000, "#/blanks"),
    "blanks-zh-phone": ("zh-CN", "dark", 390, "#/blanks"),
    "inside": ("en-US", "light", 1000, "#/inside"),
    "inside-zh": ("zh-CN", "dark", 1000, "#/inside"),
    "masks-phone": ("en-US", "dark", 390, "#/masks?share=30"),
    "next-zh": ("zh-CN", "light", 1000, "#/next"),
}
"""Of each its locale, colours, width and address."""


def take(browser: Browser, name: str) -> None:
    """Takes one picture of what fits on a page."""
    locale, colours, width, address = PICTURES[name]
    context = browser.new_context(
        locale=locale,
        color_scheme=colours,  # type: ignore[arg-type]
        viewport={"width": width, "height": 900},
    )
    tab = context.new_page()
    tab.goto(f"http://127.0.0.1:{PORT}/{address}")
    tab.wait_for_selector("button[type=submit]:enabled", timeout=60_000)
    tab.wait_for_selector("#output > *", timeout=60_000)
    tab.screenshot(path=FOLDER / f"{name}.png")
    context.close()


def main() -> None:
    """Serves the starter models and takes all pictures."""
    command = [sys.executable, "-m", "bertsmith", "serve", "--port", str(PORT)]
    service = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                httpx.get(f"http://127.0.0.1:{PORT}/readyz").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(1)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            for name in PICTURES:
                take(browser, name)
            browser.close()
    finally:
        service.terminate()
        service.wait(60)


if __name__ == "__main__":
    main()
