"""Draws the README's heatmap: `python -m docs.heatmap <bundle of imagenet>`.

The photo is a drawing of this project (docs/goldfish.svg), rendered by Chromium; beside it stands what
`/explain` returns for it.
"""

import io
import sys
from pathlib import Path

from PIL import Image

from pipeline.evaluation.explained_image import explain_image
from tests.serving.browser import chromium

FOLDER = Path(__file__).parent
DRAWING, RENDERED, HEATMAP = (FOLDER / name for name in ("goldfish.svg", "goldfish.png", "heatmap.png"))
# Sides of the rendered drawing and of each picture in the pair, in pixels.
SIDE, SHOWN = 480, 360
LABEL = "goldfish"


def main(bundle: Path) -> None:
    """Writes docs/goldfish.png and docs/heatmap.png, and prints the class and its probability."""
    with chromium() as browser:
        browser.set_window_size(SIDE, 2 * SIDE)
        browser.get(DRAWING.resolve().as_uri())
        screenshot = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    screenshot.crop((0, 0, SIDE, SIDE)).save(RENDERED, optimize=True)
    found = explain_image(bundle, RENDERED, LABEL, None)
    pair = Image.new("RGB", (2 * SHOWN, SHOWN))
    for place, image in enumerate((Image.open(RENDERED), Image.open(io.BytesIO(found.picture)))):
        pair.paste(image.resize((SHOWN, SHOWN), Image.Resampling.LANCZOS), (place * SHOWN, 0))
    pair.save(HEATMAP, optimize=True)
    print(f"{found.label} {found.score:.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
