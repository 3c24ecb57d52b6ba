"""Headless Chromium, and the actions and queries that tests use on a page."""

import base64
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

PATIENCE = 20.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No host but this machine resolves.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# The states in which the page is done or waits for an action.
SETTLED = (
    "[data-state=result]:not([hidden]), [data-state=waiting]:not([hidden]), #key:not([hidden]), #refusal > *"
)

# Drops or pastes files: the event, then [name, type, base64 or size] of each file.
TRANSFER_FILES = """
const [kind, ...files] = arguments;
const transfer = new DataTransfer();
for (const [name, type, data] of files) {
  const bytes = data.length ? Uint8Array.from(atob(data), c => c.charCodeAt(0)) : new Uint8Array(data);
  transfer.items.add(new File([bytes], name, {type}));
}
const options = {bubbles: true, cancelable: true};
const event = kind === "paste"
  ? new ClipboardEvent("paste", {...options, clipboardData: transfer})
  : new DragEvent(kind, {...options, dataTransfer: transfer});
document.querySelector("h1").dispatchEvent(event);
return event.defaultPrevented;
"""

# Each visible text: text, colour, background colour, size in px, weight.
TEXTS = """
const behind = element => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (colour !== "rgba(0, 0, 0, 0)") return colour;
  }
};
return [...document.querySelectorAll("body *")]
  .filter(e => e.checkVisibility() && !e.matches("noscript, script, template"))
  .filter(e => [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim()))
  .map(e => [e, getComputedStyle(e)])
  .map(([e, s]) => [e.textContent.trim(), s.color, behind(e), parseFloat(s.fontSize), Number(s.fontWeight)]);
"""

# The focused element: its id or link, and whether it, or its visible label, has a focus ring.
FOCUSED = """
const element = document.activeElement;
const seen = element.matches(".unseen") ? element.labels[0] : element;
const {outlineStyle, outlineWidth} = getComputedStyle(seen);
const ring = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 && seen.checkVisibility();
return [element.id || element.getAttribute("href") || element.localName, ring];
"""


@contextmanager
def chromium() -> Iterator[Chrome]:
    """Starts a browser. The test is skipped if none is installed; Selenium must not download one."""
    browser, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium or chromedriver is missing: `apt-get install chromium chromium-driver`")
    options = ChromeOptions()
    options.binary_location = browser
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = Chrome(options=options, service=Service(driver))
    try:
        yield started
    finally:
        started.quit()


@dataclass
class Page:
    """A page of a server in the browser."""

    browser: Chrome
    url: str

    def open(self, path: str = "/") -> None:
        self.browser.get(self.url + path)

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401  (whatever the script returns)
        return self.browser.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The text of an element; "" while it is hidden."""
        return self.find(selector).text

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.browser.find_elements(By.CSS_SELECTOR, selector)]

    def shows(self, selector: str) -> bool:
        found = self.browser.find_elements(By.CSS_SELECTOR, selector)
        return any(element.is_displayed() for element in found)

    def expect(self, selector: str) -> WebElement:
        """Waits until an element is visible."""
        WebDriverWait(self.browser, PATIENCE, 0.02).until(lambda _: self.shows(selector), selector)
        return self.find(selector)

    def choose(self, folder: Path, name: str, data: bytes) -> None:
        """Chooses a file in the dialog and waits until the page is done or waits for an action."""
        (folder / name).write_bytes(data)
        self.find("#file").send_keys(str(folder / name))
        self.expect(SETTLED)

    def give(self, way: str, *files: tuple[str, str, bytes | int]) -> bool:
        """Drops or pastes files: name, type, and bytes or their number. Did the page handle the event?"""
        encoded = [(n, k, d if isinstance(d, int) else base64.b64encode(d).decode()) for n, k, d in files]
        return bool(self.run(TRANSFER_FILES, way, *encoded))

    def tab(self) -> tuple[str, bool]:
        """Presses the Tab key; returns the focused element's id or link, and whether the focus is visible."""
        ActionChains(self.browser).send_keys(Keys.TAB).perform()
        name, ring = self.run(FOCUSED)
        return name, ring

    def screen(self, width: int, height: int, touch: bool = False) -> None:
        """Emulates a device."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.command("Emulation.setTouchEmulationEnabled", enabled=touch)

    def prefer(self, **features: str) -> None:
        """Emulates user preferences, such as color_scheme="dark"."""
        listed = [{"name": f"prefers-{k.replace('_', '-')}", "value": v} for k, v in features.items()]
        self.command("Emulation.setEmulatedMedia", features=listed)

    def command(self, name: str, **arguments: object) -> None:
        self.browser.execute_cdp_cmd(name, arguments)

    def console_messages(self) -> list[str]:
        """New console messages, except Chromium's notes of failed requests."""
        entries = self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["source"] != "network"]

    def loaded(self) -> list[str]:
        """The URLs of all resources that the page has loaded."""
        return list(self.run("return performance.getEntriesByType('resource').map(entry => entry.name)"))

    def hosts(self) -> set[str]:
        """The hosts that it has sent requests to."""
        return {urlsplit(address).netloc for address in self.loaded() if not address.startswith("blob:")}

    def low_contrast_texts(self) -> list[tuple[str, float]]:
        """The texts with less contrast to their background than WCAG AA requires."""
        found = []
        for text, colour, behind, pixels, weight in self.run(TEXTS):
            large = pixels >= 24 or (pixels >= 18.66 and weight >= 700)
            ratio = contrast(_rgb(colour), _rgb(behind))
            if ratio < (3 if large else 4.5):
                found.append((text, round(ratio, 2)))
        return found


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(rgb: tuple[int, ...]) -> float:
    shares = [value / 255 for value in rgb]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _rgb(colour: str) -> tuple[int, ...]:
    """Parses a colour, which must be opaque."""
    assert colour.startswith("rgb("), colour
    return tuple(int(value) for value in re.findall(r"\d+", colour))
