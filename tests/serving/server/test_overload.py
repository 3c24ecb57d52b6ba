"""Admission control: few slots, a short queue, 503 beyond; every admitted request is answered."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from PIL import Image

from serving.api.admission_control import AdmissionControl
from serving.api.errors import DeadlineExceeded, ServerBusy
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.images import encode_image
from tests.serving.servers import Server, await_true, publish, running
from tests.serving.wire import RawResponse, ask, assert_responsive, head, post, read

# A valid image that takes about 0.3 s: 24 megapixels in 30 kB.
SLOW = encode_image(Image.new("RGB", (4900, 4900), "red"), "PNG")
RED = one_colour_png(COLOURS["red"])
QUEUE = 2


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one slot and a queue of two."""
    with running(publish(tmp_path_factory.mktemp("narrow")), slots=1, queue=QUEUE) as started:
        yield started


def gauge(server: Server, name: str) -> float:
    """The current value of a gauge."""
    lines = ask(server, head("GET", "/metrics")).body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def flood(server: Server, clients: int) -> "list[RawResponse]":
    """The responses to several clients at once, each with one slow image."""
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(lambda _: ask(server, post("/inference", SLOW)), range(clients)))


@contextmanager
def flooding(server: Server, clients: int) -> Iterator[None]:
    """Several clients send slow images, one after the other, while the block runs."""
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            ask(server, post("/inference", SLOW))

    with ThreadPoolExecutor(clients) as pool:
        work = [pool.submit(send) for _ in range(clients)]
        try:
            yield
        finally:
            over.set()
        for done in work:
            done.result()


def test_beyond_the_queue_there_is_an_honest_503(narrow: Server) -> None:
    answers = flood(narrow, 20)
    statuses = Counter(answer.status for answer in answers)
    # One runs and two wait; more are admitted as they finish.
    assert 1 + QUEUE <= statuses[200] < 20
    assert statuses[200] + statuses[503] == 20
    for answer in answers:
        if answer.status == 503:
            assert answer.json["code"] == "server_busy"
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert not answer.closed
        else:
            assert max(answer.json, key=answer.json.get) == "red"


def test_health_checks_answer_meanwhile(narrow: Server) -> None:
    with flooding(narrow, 8):
        await_true(lambda: gauge(narrow, "goldfish_slots_busy") == 1)
        await_true(lambda: 0 < gauge(narrow, "goldfish_queue_depth") <= QUEUE)
        # In the full queue of the others they would be refused.
        for _ in range(3):
            assert_responsive(narrow)
    assert gauge(narrow, "goldfish_queue_depth") == gauge(narrow, "goldfish_slots_busy") == 0
    assert gauge(narrow, "goldfish_body_bytes") == 0


def test_requests_that_wait_too_long_are_refused(tmp_path: Path) -> None:
    with running(publish(tmp_path), slots=1, queue=10, deadline=0.2) as server:
        answers = flood(server, 6)
        late = [answer for answer in answers if answer.status != 200]
        assert late
        assert {answer.json["code"] for answer in late} == {"deadline_exceeded"}
        assert all("retry-after" in answer.headers for answer in late)
        assert ask(server, post("/inference", SLOW)).status in (200, 503)


def test_bodies_share_one_budget(tmp_path: Path) -> None:
    body = bytes(1_000_000)
    with running(publish(tmp_path), bodies_mb=1, body_seconds=60) as server, server.connect() as slow:
        # An unfinished body holds most of the budget, until its response is sent.
        slow.sendall(head("POST", "/inference", "Content-Length: 1000000") + body[:900_000])
        await_true(lambda: gauge(server, "goldfish_body_bytes") > 500_000)
        assert ask(server, post("/inference", body)).json["code"] == "server_busy"
        slow.sendall(body[900_000:])
        read(slow)
        assert gauge(server, "goldfish_body_bytes") == 0
        assert ask(server, post("/inference", body)).json["code"] == "image_unrecognised"


def test_work_of_clients_that_have_gone_is_not_done(tmp_path: Path) -> None:
    with running(publish(tmp_path), slots=1, queue=30) as server:
        for _ in range(20):
            with server.connect() as connection:
                connection.sendall(post("/inference", SLOW))
        assert ask(server, post("/inference", SLOW)).status == 200
        codes = Counter(line.get("code") for line in server.log())
        assert codes["client_gone"] > 10


def test_clients_without_a_key_cannot_take_all_uploads(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"key").hexdigest()
    with running(publish(tmp_path), uploads=4, api_keys=digest) as server, ExitStack() as stack:
        for path in ("/inference", "/nowhere") * 10:
            stranger = stack.enter_context(server.connect())
            stranger.sendall(head("POST", path, "Content-Length: 1000000") + b"x")
        answer = ask(server, post("/inference", RED, "X-API-Key: key"))
        assert answer.status == 200


def hold(admission: AdmissionControl, release: threading.Event, order: list[int], number: int) -> None:
    """Holds a slot until it is released, and records the order."""
    with admission.slot(time.monotonic() + 10, 10):
        order.append(number)
        release.wait(10)


def test_the_queue_is_first_in_first_out() -> None:
    admission, release = AdmissionControl(1, 10), threading.Event()
    order: list[int] = []
    threads = []
    for number in range(8):
        thread = threading.Thread(target=hold, args=(admission, release, order, number))
        thread.start()
        threads.append(thread)
        while admission.busy + admission.waiting <= number:
            time.sleep(0.001)
    release.set()
    for thread in threads:
        thread.join(10)
    assert order == list(range(8))
    assert (admission.busy, admission.waiting) == (0, 0)


def test_no_slot_is_lost_when_turns_and_deadlines_meet() -> None:
    # Deadlines of about the time that a slot is held, so that slots become free just as waits end.
    admission = AdmissionControl(2, 50)
    outcomes: Counter[str] = Counter()

    def work(number: int) -> None:
        try:
            with admission.slot(time.monotonic() + 0.004 * (number % 5), 1):
                assert admission.busy <= 2
                time.sleep(0.002)
            outcomes["done"] += 1
        except (DeadlineExceeded, ServerBusy) as error:
            outcomes[error.code] += 1

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(work, range(2000)))
    assert outcomes.total() == 2000
    assert outcomes["done"] > 0
    assert outcomes["deadline_exceeded"] > 0
    assert (admission.busy, admission.waiting) == (0, 0)


def test_a_slot_is_given_back_after_a_fault() -> None:
    admission = AdmissionControl(1, 0)
    for _ in range(3):
        with pytest.raises(RuntimeError), admission.slot(time.monotonic() + 1, 1):
            raise RuntimeError
    assert admission.busy == 0


def test_retry_after_grows_with_the_queue_and_the_work() -> None:
    admission, release = AdmissionControl(1, 100), threading.Event()
    order: list[int] = []
    for _ in range(50):
        with admission.slot(time.monotonic() + 1, 1):
            time.sleep(0.02)
    quick = admission.retry_after()
    with ThreadPoolExecutor(100) as pool:
        for number in range(100):
            pool.submit(hold, admission, release, order, number)
        while admission.waiting < 99:
            time.sleep(0.001)
        assert admission.retry_after() > quick == 1
        release.set()
