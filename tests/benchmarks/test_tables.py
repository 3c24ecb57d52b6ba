"""Tables and picture show every contender, what failed too."""

from pathlib import Path

from PIL import Image

from benchmarks.serving import plot
from benchmarks.serving.tables import growth, sentence, table
from tests.benchmarks.runs import everybody, loaded, row, run


def test_every_contender_has_a_row_and_a_failed_one_its_reason() -> None:
    rows = everybody()
    shown = table(run(rows)).splitlines()
    assert [line.split("|")[1].strip(" *") for line in shown[2 : 2 + len(rows)]] == [r["name"] for r in rows]
    assert "| Broken | not measured, see below | | | | | |" in shown
    assert "- Broken was not measured: no right answer within 120 s of its start: it wrote nothing" in shown
    assert all(line.count("|") == 8 for line in shown[: 2 + len(rows)])


def test_a_row_holds_what_was_measured() -> None:
    shown = table(run(everybody()))
    assert "| **Goldfish, 8 bit** | 50, 450, 450 | 20, 40 ms | 100, 100 MB | 1.0 s | 180 | 90 % |" in shown
    assert "| the limit, 8 bit | 500 | | 90 MB | | | 100 % |" in shown
    # A share of the limit of the same precision.
    assert "| Swift | 50, 300, 300 | 20, 40 ms | 320, 320 MB | 1.0 s | 180 | 75 % |" in shown


def test_it_says_where_and_how_it_was_measured() -> None:
    (line,) = [line for line in table(run(everybody())).splitlines() if line.startswith("2026-11-22, ")]
    for told in (
        "commit abc",
        "A CPU, 2 cores",
        "wrk 4.1.0",
        "3 shuffled rounds of 8 s",
        "20 JPEGs of 70 kB",
    ):
        assert told in line


def test_errors_are_told() -> None:
    rows = everybody()
    rows[5]["clients"]["64"] = loaded(100, errors=1234)
    assert "- Swift: 1,234 requests failed." in table(run(rows))


def test_targets_that_are_missed_say_by_how_much() -> None:
    assert "| memory under load against the same | ≤ 1/20 | 1/18.0 | missed by 11 % |" in table(
        run(everybody())
    )


def test_the_limit_says_what_can_be_reached() -> None:
    rows = everybody()
    limit = next(seen for seen in rows if seen["kind"] == "limit")
    app = next(seen for seen in rows if seen["kind"] == "tutorial")
    limit["clients"]["0"]["rate"] = 600
    limit["load_mb"], app["load_mb"], app["clients"]["8"]["rate"] = 50, 2000, 20
    assert "is 30 times the tutorial's app, in 1/40 of its memory" in table(run(rows))


def test_a_quick_run_is_a_sentence() -> None:
    rows = [
        row("Goldfish, float32", "ours", "float32", 330.4, 1),
        row("the app", "tutorial", "float32", 10, 1),
    ]
    assert "requests/s: Goldfish, float32 330, the app 10." in sentence(run(rows))


def test_growth_has_a_line_for_each_step() -> None:
    seen = loaded(100) | {"load_mb": 120}
    grown = {
        "clients": [seen | {"clients": 256, "queue": 32, "errors": 1234}],
        "photos": [seen | {"width": 4000, "height": 3000, "bytes": 3_000_000}],
        "loops": [{"threads": 2, "inner": 1, "rate": 400, "p50_ms": 5}],
    }
    shown = growth({"growth": grown})
    assert "| 256 | 32 | 100 | 20, 40 ms | 120 MB | 1,234 |" in shown
    assert "| 4000 x 3000 | 3,000 kB | 100 | 20, 40 ms | 120 MB |" in shown
    assert "| 2 | 1 | 400 | 5.0 ms |" in shown


def test_the_same_results_make_the_same_picture(tmp_path: Path) -> None:
    one, two, other = tmp_path / "one.png", tmp_path / "two.png", tmp_path / "other.png"
    plot.draw(one, run(everybody()))
    plot.draw(two, run(everybody()))
    plot.draw(other, run(everybody()[:5]))
    assert one.read_bytes() == two.read_bytes() != other.read_bytes()
    with Image.open(one) as picture:
        assert picture.info[plot.NUMBERS] == plot.numbers(run(everybody()))
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
