"""Behind a proxy: a path prefix that all links carry, and malformed X-Forwarded-* headers."""

import re
from collections.abc import Iterator

import pytest

from tests.serving.api.test_routes import upload
from tests.serving.browser import SETTLED, Page, chromium
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.server.test_log_and_metrics import line_of
from tests.serving.servers import Server, publish, running
from tests.serving.wire import ask, head, post

RED = one_colour_png(COLOURS["red"])
PREFIX = "/vision/flowers"
BROWSER = {"Accept": "text/html"}
PAGES = ("/", "/model", "/docs")
LINK = re.compile(r'(?:href|src|action|data-\w+)="(/[^"]*)"')


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a prefix and one proxy in front."""
    folder = publish(tmp_path_factory.mktemp("behind"))
    with running(folder, prefix=PREFIX, proxy_hops=1) as started:
        yield started


# Proxies that keep the prefix in the path, and proxies that remove it.
@pytest.mark.parametrize("before", [PREFIX, ""])
def test_all_routes_are_there(behind: Server, before: str) -> None:
    for path in (
        "/",
        "/docs",
        "/openapi.json",
        "/livez",
        "/readyz",
        "/version",
        "/model",
        "/metrics",
        "/v2",
        "/ping",
    ):
        assert behind.get(before + path).status_code == 200, path
    for path in ("/inference", "/predict", "/hf/classify"):
        assert "red" in behind.post(before + path, data=RED).text
    # Names of this protocol are case-insensitive.
    assert behind.get(f"{before}/V1/Models/colours").status_code == 200


@pytest.mark.parametrize("before", [PREFIX, ""])
@pytest.mark.parametrize("path", PAGES)
def test_every_link_of_a_page_has_the_prefix(behind: Server, path: str, before: str) -> None:
    text = behind.get(before + path, headers=BROWSER).text
    links = LINK.findall(text)
    assert len(links) > 4
    for link in links:
        assert link.startswith(f"{PREFIX}/"), link
        if not link.endswith(("/predict", "/inference", "/explain")):
            assert behind.get(link).status_code == 200, link
    # So do the commands.
    assert all(url.startswith(PREFIX) for url in re.findall(r"127\.0\.0\.1:\d+(\S*?)[<&'\s]", text))


def test_documents_and_errors_have_it(behind: Server) -> None:
    for before in (PREFIX, ""):
        assert behind.get(f"{before}/openapi.json").json()["servers"] == [{"url": PREFIX}]
        problem = behind.post(f"{before}/predict", data=b"?").json()
        assert problem["type"] == f"{PREFIX}/docs#image_unrecognised"
    assert f" {PREFIX}/docs lists" in behind.get("/nowhere").json()["detail"]
    assert f" {PREFIX}/predict takes" in behind.post("/inference", **upload(RED, RED)).json()["detail"]
    # So does the response to invalid HTTP.
    assert ask(behind, b"NONSENSE\r\n\r\n").json["type"] == f"{PREFIX}/docs#request_malformed"


@pytest.mark.parametrize(
    "path",
    [
        f"{PREFIX}s",
        f"{PREFIX}s/livez",
        f"{PREFIX}{PREFIX}/livez",
        "/vision",
        "/vision/livez",
        "/VISION/flowers/",
    ],
)
def test_what_only_looks_like_it_is_unknown(behind: Server, path: str) -> None:
    assert behind.get(path).status_code == 404


def test_the_prefix_alone_is_the_page(behind: Server) -> None:
    assert behind.get(PREFIX).json() == {"outcome": "endpoint working successfully"}
    assert f'href="{PREFIX}/' in behind.get(PREFIX, headers=BROWSER).text


def test_routes_in_log_and_metrics_have_none(behind: Server) -> None:
    answer = behind.get(f"{PREFIX}/livez")
    assert line_of(behind, answer.headers["X-Request-Id"])["route"] == "/livez"


@pytest.mark.parametrize("header", ["X-Forwarded-Prefix", "X-Script-Name", "X-Original-URI", "SCRIPT_NAME"])
def test_a_client_cannot_choose_it(behind: Server, header: str) -> None:
    text = behind.get("/", headers={**BROWSER, header: "/evil"}).text
    assert "/evil" not in text


def test_page_works_in_a_browser(behind: Server) -> None:
    with chromium() as browser:
        page = Page(browser, behind.url + PREFIX)
        page.open()
        page.give("drop", ("red.png", "image/png", RED))
        page.expect(SETTLED)
        assert page.text("#best") == "red"
        assert page.console_messages() == []


@pytest.mark.parametrize(
    ("forwarded", "scheme"),
    [
        *(("https", "https"), ("HTTPS", "https"), ("http", "http"), ("ws", "http"), ("wss", "http")),
        *(("", "http"), ("javascript", "http"), ("ftp", "http"), ("https:", "http"), ("\xe4", "http")),
        *(('"https"', "https"), ("https, ws", "http"), ("ws, https", "https"), ("h" * 1000, "http")),
        *(("<script>", "http"), ("https https", "http"), (",", "http"), ("on", "http")),
    ],
)
def test_scheme_that_a_proxy_names(behind: Server, forwarded: str, scheme: str) -> None:
    lines = (f"X-Forwarded-Proto: {forwarded}", "Accept: text/html")
    for path in PAGES:
        answer = ask(behind, head("GET", path, *lines))
        assert answer.status == 200
    assert f"{scheme}://127.0.0.1{PREFIX}/inference".encode() in ask(behind, head("GET", "/", *lines)).body
    assert ask(behind, post("/inference", RED, *lines)).status == 200


JUNK = [
    "",
    ",",
    '"',
    "unknown",
    "_hidden",
    "[::",
    "a" * 5000,
    "\xe4",
    "for=1",
    "1.2.3.4.5",
    "::1%eth0",
    ", ,",
]


@pytest.mark.parametrize("junk", JUNK)
def test_junk_of_a_proxy_is_no_fault_of_the_client(behind: Server, junk: str) -> None:
    for name in ("For", "Proto", "Host", "Port", "Prefix", "Ssl", "Scheme"):
        answer = ask(behind, post("/inference", RED, f"X-Forwarded-{name}: {junk}"))
        assert answer.status == 200, name
    assert ask(behind, post("/inference", RED, f"Forwarded: {junk}")).status == 200


@pytest.mark.parametrize("prefix", ["/static/x", "/v1/models"])
def test_prefix_that_would_hide_a_route_stops_the_start(
    tmp_path_factory: pytest.TempPathFactory, prefix: str
) -> None:
    folder = publish(tmp_path_factory.mktemp("hidden"))
    with (
        pytest.raises(AssertionError, match=f"GOLDFISH_PREFIX is '{prefix}'"),
        running(folder, prefix=prefix),
    ):
        pass
