"""Takes the README's screenshot of the page: `python -m docs.picture <url of a server> <image>`."""

import sys
import tempfile
from pathlib import Path

from tests.serving.browser import Page, chromium

SCREENSHOT = Path(__file__).with_name("page.png")
WIDTH, HEIGHT = 1200, 906
# Resolves when the bars of the result are at their full length.
ANIMATIONS_FINISHED = (
    "Promise.all(document.getAnimations().map(animation => animation.finished)).then(arguments[0])"
)


def main(url: str, image: Path) -> None:
    """Uploads an image to the page and saves a screenshot of the result."""
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        page = Page(browser, url)
        page.screen(WIDTH, HEIGHT)
        page.open()
        page.choose(Path(folder), image.name, image.read_bytes())
        page.expect("[data-state=result]:not([hidden])")
        browser.execute_async_script(ANIMATIONS_FINISHED)
        browser.save_screenshot(SCREENSHOT)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
