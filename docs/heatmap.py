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
SIDE, LABEL = 480, "goldfish"


def main(bundle: Path) -> None:
    """Writes docs/goldfish.png and docs/heatmap.png, and prints the class and its probability."""
    with chromium() as browser:
        browser.set_window_size(SIDE, 2 * SIDE)
        browser.get(DRAWING.resolve().as_uri())
        screenshot = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    screenshot.crop((0, 0, SIDE, SIDE)).save(RENDERED, optimize=True)
    found = explain_image(bundle, RENDERED, LABEL, None)
    heatmap = Image.open(io.BytesIO(found.picture)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pair = Image.new("RGB", (2 * SIDE, SIDE))
    pair.paste(Image.open(RENDERED), (0, 0))
    pair.paste(heatmap, (SIDE, 0))
    pair.quantize(128).save(HEATMAP, optimize=True)
    print(f"{found.label} {found.score:.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
