"""The pages in a real browser: input, predictions, errors, retries and accessibility."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from flask import render_template
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys

from serving.api.app import create_app
from serving.api.model_states import model_states
from serving.api.response_schemas import ModelCard, PreprocessingCard
from serving.api.service import Service
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import Release
from serving.config import Settings
from serving.errors import ImageTooLarge
from serving.model.decoder import MAX_BYTES
from serving.model.preprocessing import Preprocessing
from serving.server.drain import Drain
from tests.serving.api.blocking import occupied
from tests.serving.browser import SETTLED, Page, chromium
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.images import black_png, halves
from tests.serving.servers import Server, publish, running

KEY = "a-key-of-the-tests"
PAGES = ("/", "/model", "/docs")
SCHEMES = ("light", "dark")
RED, BLUE = one_colour_png(COLOURS["red"]), one_colour_png(COLOURS["blue"])
ALERT, RESULT, WAITING = "#refusal", "[data-state=result]", "[data-state=waiting]"
WRONG = {
    "note.txt": b"This is no picture.",
    "empty.png": b"",
    "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
}
# The maximum number of pixels, in 3 kB: decoding it takes a while.
HEAVY = black_png(5000)
# A countdown ends only when a test calls `endCountdown`, however slow the machine is.
STOP_THE_CLOCK = """
window.setInterval = tick => {
  window.endCountdown = () => {
    performance.now = () => Infinity;
    tick();
    delete performance.now;
  };
};
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """One browser for all tests."""
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Chrome, server: Server) -> Iterator[Page]:
    """The page of the shared server, on a desktop screen in the light scheme. The console must stay empty."""
    with visit(browser, server) as opened:
        yield opened


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one slot and no queue, whose predictions a test can block."""
    folder = publish(tmp_path_factory.mktemp("narrow"))
    blocking = "tests.serving.api.blocking"
    with running(folder, module=blocking, slots=1, queue=0, deadline=60) as started:
        yield started


@contextmanager
def visit(browser: Chrome, server: Server) -> Iterator[Page]:
    """A newly loaded page. It must leave the console empty and send requests to its own server only."""
    page = Page(browser, server.url)
    page.screen(1200, 900)
    page.prefer(color_scheme="light")
    page.console_messages()
    page.open()
    yield page
    assert page.console_messages() == []
    assert page.hosts() <= {f"127.0.0.1:{server.port}"}


def bar_texts(response: dict[str, Any]) -> list[str]:
    """The texts of the bars for a response of /predict."""
    return [f"{score['label']}\n{100 * score['score']:.1f}%" for score in response["predictions"][0]]


def assert_legible(page: Page) -> None:
    """Asserts that every text has enough contrast with its background, in both colour schemes."""
    for scheme in SCHEMES:
        # Without transitions, during which colours are not final.
        page.prefer(color_scheme=scheme, reduced_motion="reduce")
        assert page.low_contrast_texts() == [], scheme


def test_upload_shows_what_predict_answers(page: Page, server: Server, tmp_path: Path) -> None:
    page.choose(tmp_path, "red.png", RED)
    response = server.post("/predict", files={"image": RED}).json()
    assert page.text("#best") == "red"
    assert page.texts("#bars li") == bar_texts(response)
    assert page.text("#sure") == "Very sure."
    widths = page.run("return [...document.querySelectorAll('.bar')].map(bar => parseFloat(bar.style.width))")
    assert widths == pytest.approx([100 * score["score"] for score in response["predictions"][0]], abs=1e-3)
    assert "ms on the server" in page.text("#time")
    assert page.text("#model") == "colours, version 3"
    assert page.find("#digest code").get_attribute("title") == response["model"]["digest"]
    assert page.find("#preview").get_attribute("alt") == "Preview of red.png"


@pytest.mark.parametrize(
    ("mixed", "words"),
    [((255, 90, 90), "Fairly sure."), ((255, 200, 150), "Leaning towards this."), ((9, 9, 9), "Not sure.")],
)
def test_words_follow_the_figure(page: Page, tmp_path: Path, mixed: tuple[int, int, int], words: str) -> None:
    page.choose(tmp_path, "mixed.png", one_colour_png(mixed))
    assert page.text("#sure") == words


@pytest.mark.parametrize(
    ("colour", "words", "warning"),
    [
        ((255, 0, 0), "It is this one (95%).", ""),
        ((255, 255, 0), "It is one of these two (95%): red, green.", ""),
        (
            (0, 0, 0),
            "It is one of these three (95%): red, green, blue.",
            "This does not look like what I have",
        ),
    ],
)
def test_how_far_the_answer_can_be_relied_on_is_said(
    page: Page, tmp_path: Path, colour: tuple[int, int, int], words: str, warning: str
) -> None:
    page.choose(tmp_path, "picture.png", one_colour_png(colour))
    assert page.text("#set") == words
    assert page.text("#warning").startswith(warning)
    assert bool(page.text("#warning")) == bool(warning)


def test_abstention_is_said(browser: Chrome, tmp_path: Path) -> None:
    with (
        running(publish(tmp_path), abstain_below=0.99) as strict,
        visit(browser, strict) as page,
    ):
        page.choose(tmp_path, "red.png", RED)
        assert page.text("#warning").startswith("This is less sure than the operator")


# Opacity of the heatmap, 0 to 255, at shares of its width, read from a copy.
OPACITIES = """
const heat = document.querySelector('#heat');
const copy = new OffscreenCanvas(heat.width, heat.height).getContext('2d', {willReadFrequently: true});
copy.drawImage(heat, 0, 0);
return arguments[0].map(share => copy.getImageData(share * heat.width, heat.height / 2, 1, 1).data[3]);
"""


def test_heatmap_is_drawn_over_the_preview(page: Page, tmp_path: Path) -> None:
    page.choose(tmp_path, "halves.png", halves())
    assert not page.shows("#heat")
    button = page.find("#explain")
    page.run("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    heat = page.expect("#heat")
    assert page.text("#best") in ("red", "blue")
    side = "left" if page.text("#best") == "red" else "right"
    text = page.text("#explanation")
    assert text.startswith(f"Most of what speaks for {page.text('#best')} is at the ")
    assert side in text
    assert (heat.get_attribute("role"), heat.get_attribute("aria-label")) == ("img", f"Heatmap. {text}")
    assert button.text == "Hide heatmap"
    # The central square of 60 x 20 pixels begins at one third.
    left, right = page.run(OPACITIES, [0.4, 0.6])
    assert (left > 100 > right) == (side == "left")
    assert page.run(OPACITIES, [0.1, 0.9]) == [0, 0]
    photo = page.find("#preview")
    assert (heat.rect["x"], heat.rect["width"]) == (photo.rect["x"], photo.rect["width"])
    assert_legible(page)
    button.send_keys(Keys.SPACE)
    assert not page.shows("#heat")
    assert page.text("#explanation") == ""
    # It is shown again without another request.
    asked = [address for address in page.loaded() if address.endswith("/explain")]
    button.send_keys(Keys.SPACE)
    assert page.text("#explanation") == text
    assert [address for address in page.loaded() if address.endswith("/explain")] == asked


def test_another_image_removes_the_heatmap(page: Page, tmp_path: Path) -> None:
    page.choose(tmp_path, "red.png", RED)
    page.find("#explain").click()
    page.expect("#heat")
    page.choose(tmp_path, "blue.png", BLUE)
    assert not page.shows("#heat")
    assert page.text("#explanation") == ""


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_image_is_dropped_or_pasted(page: Page, way: str) -> None:
    assert page.give(way, ("<b>blue</b>.png", "image/png", BLUE), ("red.png", "image/png", RED))
    page.expect(RESULT)
    assert page.text("#best") == "blue"
    assert page.text("#caption") == f"<b>blue</b>.png, {len(BLUE)} bytes, first of 2 files"


def test_dragging_is_shown(page: Page) -> None:
    assert page.give("dragover")
    assert page.shows(".dragging .drop")
    page.give("dragleave")
    assert not page.shows(".dragging")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_what_is_no_file_is_explained(page: Page, way: str) -> None:
    page.give(way)
    assert "There is no" in page.expect(ALERT).text


def test_newer_image_counts(page: Page) -> None:
    # The older image takes longer, so its prediction would arrive last if the request was not cancelled.
    page.give("drop", ("heavy.png", "image/png", HEAVY))
    page.give("drop", ("blue.png", "image/png", BLUE))
    page.expect(RESULT)
    time.sleep(1)
    assert page.text("#best") == "blue"


@pytest.mark.parametrize("name", WRONG)
def test_refusal_is_the_servers_sentence(page: Page, server: Server, tmp_path: Path, name: str) -> None:
    page.choose(tmp_path, name, WRONG[name])
    problem = server.post("/predict", files={"image": (name, WRONG[name])}).json()
    assert page.find(ALERT).get_attribute("role") == "alert"
    assert page.text(f"{ALERT} .detail") == problem["detail"]
    assert page.text(f"{ALERT} .code").startswith(f"{problem['status']} {problem['code']} · request ")
    assert page.find(f"{ALERT} .code a").get_attribute("href") == f"{server.url}/docs#{problem['code']}"
    assert not page.shows("#preview")
    assert not page.shows(RESULT)
    # The next image is classified as usual.
    page.choose(tmp_path, "red.png", RED)
    assert page.text("#best") == "red"
    assert page.text(ALERT) == ""


def test_too_large_is_said_before_it_is_sent(page: Page) -> None:
    page.give("drop", ("large.bmp", "image/bmp", MAX_BYTES + 1))
    page.expect(ALERT)
    assert page.text(f"{ALERT} .detail") == str(ImageTooLarge(MAX_BYTES + 1, MAX_BYTES))
    assert not [address for address in page.loaded() if "/predict" in address]


def test_busy_server_is_asked_again(browser: Chrome, narrow: Server, tmp_path: Path) -> None:
    with visit(browser, narrow) as page:
        page.run(STOP_THE_CLOCK)
        with occupied(narrow):
            page.choose(tmp_path, "red.png", RED)
            assert "The server is busy." in page.text(WAITING)
            seconds = narrow.post("/predict", data=RED).headers["Retry-After"]
            assert f"Asking again in {seconds} s (1 of 3)." in page.text(WAITING)
            assert_legible(page)
        page.run("endCountdown()")
        page.expect(RESULT)
        assert page.text("#best") == "red"


def test_after_the_last_retry_there_is_a_button(browser: Chrome, narrow: Server, tmp_path: Path) -> None:
    with visit(browser, narrow) as page:
        page.run(STOP_THE_CLOCK)
        with occupied(narrow):
            page.choose(tmp_path, "red.png", RED)
            page.find("#cancel").click()
            assert page.shows("[data-state=nothing]")
            page.choose(tmp_path, "red.png", RED)
            for attempt in (1, 2, 3):
                assert f"({attempt} of 3)" in page.expect(WAITING).text
                page.find("#now").click()
                page.expect(SETTLED)
            assert "still busy" in page.expect(ALERT).text
        page.find(f"{ALERT} button").click()
        page.expect(RESULT)
        assert page.text("#best") == "red"


def test_key_is_asked_for(browser: Chrome, tmp_path: Path) -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    with running(publish(tmp_path), api_keys=digest) as server, visit(browser, server) as page:
        page.choose(tmp_path, "red.png", RED)
        assert page.run("return document.activeElement.id") == "key-value"
        assert_legible(page)
        page.find("#key-value").send_keys("another\n")
        assert "not one of this server's" in page.expect(f"{ALERT} .detail").text
        page.find("#key-value").send_keys(f"{KEY}\n")
        page.expect(RESULT)
        assert page.text("#best") == "red"
        assert page.run("return document.activeElement.id") == "answer"
        # The page asks only once, and does not store the key.
        page.choose(tmp_path, "blue.png", BLUE)
        assert not page.shows("#key")
        assert page.run("return localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_server_that_is_gone_is_explained(browser: Chrome, tmp_path: Path) -> None:
    with running(publish(tmp_path)) as server, visit(browser, server) as page:
        server.stop()
        page.choose(tmp_path, "red.png", RED)
        assert "cannot be reached" in page.text(ALERT)
        assert page.text(f"{ALERT} button") == "Try again"


def test_new_model_does_not_get_the_accuracy_of_the_old(page: Page, server: Server, tmp_path: Path) -> None:
    digest = server.get("/version").json()["digest"]
    page.run("document.querySelector('main').dataset.digest = '0'.repeat(64)")
    page.choose(tmp_path, "red.png", RED)
    assert page.text("#digest") == digest[:12]
    assert "New since this page was loaded" in page.text("#accuracy")


@pytest.mark.parametrize("secure", [True, False])
def test_digest_can_be_copied(page: Page, server: Server, secure: bool) -> None:
    if not secure:
        page.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.find("#copy").click()
    page.expect("#copied:not(:empty)")
    assert page.text("#copied").startswith("Copied" if secure else "Selected")
    if not secure:
        assert page.run("return String(getSelection()).trim()") == server.get("/version").json()["digest"]


def test_camera_is_offered_to_fingers(page: Page) -> None:
    assert not page.shows(".camera")
    page.screen(360, 740, touch=True)
    assert page.shows(".camera")
    assert page.find("#camera").get_attribute("capture") == "environment"


def test_without_scripts_there_is_a_command(page: Page, server: Server) -> None:
    page.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open()
        assert f"curl -F image=@photo.jpg {server.url}/inference" in page.text("noscript")
        assert not page.shows("#file")
    finally:
        page.command("Emulation.setScriptExecutionDisabled", value=False)
        page.open()


def test_keyboard_reaches_everything(page: Page) -> None:
    wanted = {"/", "/model", "/docs", "file", "copy"}
    reached = [page.tab() for _ in range(12)]
    assert wanted <= {name for name, _ in reached}
    assert [name for name, ring in reached if name != "body" and not ring] == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("path", PAGES)
def test_small_screen_does_not_scroll_sideways(page: Page, tmp_path: Path, path: str, scheme: str) -> None:
    page.screen(320, 640, touch=True)
    page.prefer(color_scheme=scheme)
    page.open(path)
    if path == "/":
        page.choose(tmp_path, "red.png", RED)
    assert page.run("return document.documentElement.scrollWidth <= innerWidth && innerWidth === 320")


@pytest.mark.parametrize("path", PAGES)
def test_text_can_be_read(page: Page, tmp_path: Path, path: str) -> None:
    page.open(path)
    assert_legible(page)
    if path == "/":
        for name, data in {"red.png": RED, "note.txt": WRONG["note.txt"]}.items():
            page.choose(tmp_path, name, data)
            assert_legible(page)


def test_no_transitions_with_reduced_motion(page: Page) -> None:
    page.prefer(reduced_motion="reduce")
    assert page.run("return getComputedStyle(document.querySelector('.drop')).transitionDuration") == "0s"


# Accessibility rules, with a script that finds the elements that break them.
RULES = {
    "inputs have labels": "all('input').filter(e => !e.labels.length)",
    "pictures have a text": "all('img').filter(e => !e.hasAttribute('alt'))",
    "buttons have a text": "all('button').filter(e => !e.textContent.trim())",
    "ids are unique": "all('[id]').filter(e => document.getElementById(e.id) !== e)",
    "labels exist": "all('[aria-labelledby]').filter(e => !byId(e.getAttribute('aria-labelledby')))",
    "descriptions exist": "all('[aria-describedby]').filter(e => !byId(e.getAttribute('aria-describedby')))",
    "links lead to something": "all('a[href^=\"#\"]').filter(e => !byId(e.hash.slice(1)))",
    "no style and no script in the markup": "all('[style], style, script:not([src]), [onclick], [onload]')",
}
SHORT = "const all = s => [...document.querySelectorAll(s)], byId = id => document.getElementById(id);"


@pytest.mark.parametrize("path", PAGES)
def test_accessibility_rules(page: Page, path: str) -> None:
    page.open(path)
    found = {
        rule: page.run(f"{SHORT} return {script}.map(e => e.outerHTML)") for rule, script in RULES.items()
    }
    assert found == {rule: [] for rule in RULES}
    assert page.run("return [document.documentElement.lang, document.querySelectorAll('h1').length]") == [
        "en",
        1,
    ]
    levels = page.run(
        "return [...document.querySelectorAll('h1, h2, h3, h4')].map(e => Number(e.localName[1]))"
    )
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_answers_are_announced(page: Page, tmp_path: Path) -> None:
    page.choose(tmp_path, "red.png", RED)
    assert page.find("[aria-live=polite] #best").text == "red"
    assert page.find("[aria-live=polite]").get_attribute("aria-busy") == "false"


def test_every_code_has_its_line(page: Page, server: Server) -> None:
    page.open("/docs")
    errors = server.get("/openapi.json").json()["x-errors"]
    assert errors
    rows = page.run("return [...document.querySelectorAll('tr[id]')].map(row => row.id)")
    assert rows == [error["code"] for error in errors]


METRICS = {
    "top1": 0.99091,
    "top1_interval": [0.97362, 0.9969],
    "images": 330,
    "recall_macro": 0.99214,
    "gate": {"passed": False, "checks": {"top1": {"passed": False, "reason": "0.9 < 0.97"}}},
}

CONFIDENCE = {
    "temperature": 0.663,
    "images": 188,
    "calibration_error": {"value": 0.038, "interval": [0.021, 0.052]},
    "uncalibrated_error": {"value": 0.16, "interval": [0.14, 0.18]},
    "label_sets": [
        {"level": 0.95, "coverage": 0.974, "coverage_interval": [0.96, 0.98], "mean_size": 1.53},
    ],
}
FEW = CONFIDENCE | {"temperature": None, "images": 12, "label_sets": []}


@pytest.mark.parametrize(
    ("metrics", "texts"),
    [
        (None, ["There is no report"]),
        (
            {"confidence": CONFIDENCE},
            ["3.8%", "2.1% to 5.2%", "0.663", "188 validation", "16.0%", "97.4%", "96.0% to 98.0%", "1.53"],
        ),
        ({"confidence": FEW}, ["12 validation images are too few", "no guarantee"]),
        ({}, ["There is no report"]),
        ({"top1": 0.5}, ["50.0%"]),
        ({"evaluated": False, "images": 0}, ["Not evaluated"]),
        (METRICS, ["99.1%", "97.4% to 99.7%", "330 images", "99.2%", "Gate: not passed", "0.9 &lt; 0.97"]),
    ],
)
def test_card_shows_what_is_known(bundle: Path, metrics: dict[str, Any] | None, texts: list[str]) -> None:
    digest = Bundle.open(bundle).digest
    release = Release(Bundle.open(bundle), Pin("colours", 3, digest), None, None)
    service = Service.start(Settings(), [release], 1, Drain())
    app, (state,) = create_app(service), model_states(service)
    labels = [f"class {number}" for number in range(60)]
    preprocessing = PreprocessingCard(**Preprocessing.square(8, crop=1.0).to_json())
    card = ModelCard(
        name="colours",
        version=3,
        digest=digest,
        precision="int8",
        pin_commit=None,
        runtime={"python": "3"},
        input="all of it",
        preprocessing=preprocessing,
        classes=60,
        labels=labels,
        metrics=metrics,
    )
    with app.test_request_context("/model"):
        markup = render_template("card.html", card=card, state=state)
    assert [text for text in [*texts, digest, "class 59", "<details>"] if text not in markup] == []


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        (None, "unknown"),
        ({"evaluated": False, "images": 0}, "not evaluated"),
        (METRICS, "99.1% of 330 test images"),
    ],
)
def test_home_says_the_accuracy(bundle: Path, metrics: dict[str, Any] | None, text: str) -> None:
    opened = Bundle.open(bundle)
    release = Release(opened, Pin("colours", 3, opened.digest), None, metrics)
    client = create_app(Service.start(Settings(), [release], 1, Drain())).test_client()
    markup = client.get("/", headers={"Accept": "text/html"}).text
    assert f'id="accuracy">{text}' in markup
