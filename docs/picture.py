"""Takes the picture of the page that the README shows: `python -m docs.picture <url of a server> <image>`."""

import sys
import tempfile
from pathlib import Path

from tests.serving.browser import Page, chromium

PICTURE = Path(__file__).with_name("page.png")
WIDTH, HEIGHT = 1200, 906
SETTLED = "Promise.all(document.getAnimations().map(one => one.finished)).then(arguments[0])"


def main(url: str, image: Path) -> None:
    """Asks the page about an image and writes what a browser then shows."""
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        page = Page(browser, url)
        page.screen(WIDTH, HEIGHT)
        page.open()
        page.choose(Path(folder), image.name, image.read_bytes())
        page.expect("[data-state=result]:not([hidden])")
        # The bars grow into place.
        browser.execute_async_script(SETTLED)
        browser.save_screenshot(PICTURE)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
