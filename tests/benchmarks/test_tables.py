"""The tables hold every contender, also failed ones, and the chart is reproducible."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.command_line import measure_and_write
from benchmarks.documents import section
from benchmarks.serving import __main__ as comparison
from benchmarks.serving import plot
from benchmarks.serving.contenders import CHOSEN_WORKERS
from benchmarks.serving.tables import contender_table, quick_summary, scaling_tables, small_model_table
from tests.benchmarks.example_results import all_rows, load_row, row, run


def test_every_contender_has_a_row_and_a_failed_one_its_reason() -> None:
    rows = all_rows()
    shown = contender_table(run(rows)).splitlines()
    assert [line.split("|")[1].strip(" *") for line in shown[2 : 2 + len(rows)]] == [r["name"] for r in rows]
    assert "| Broken | not measured, see below | | | | | |" in shown
    assert "- Broken was not measured: no right answer within 120 s of its start: it wrote nothing" in shown
    assert all(line.count("|") == 8 for line in shown[: 2 + len(rows)])


def test_a_row_holds_what_was_measured() -> None:
    shown = contender_table(run(all_rows()))
    assert "| **Goldfish, 8 bit** | 50, 450, 450 | 20, 40 ms | 100, 100 MB | 1.0 s | 180 | 90 % |" in shown
    assert "| the limit, 8 bit | 500 | | 90 MB | | | 100 % |" in shown
    # A share of the limit of the same precision.
    assert "| Swift | 50, 300, 300 | 20, 40 ms | 320, 320 MB | 1.0 s | 180 | 75 % |" in shown


def test_the_conditions_are_shown() -> None:
    (line,) = [
        line for line in contender_table(run(all_rows())).splitlines() if line.startswith("2026-11-22, ")
    ]
    for part in (
        "commit abc",
        "A CPU, 2 cores",
        "wrk 4.1.0",
        "3 shuffled rounds of 8 s",
        "20 JPEGs of 70 kB",
    ):
        assert part in line


def test_the_spread_is_beside_each_median() -> None:
    rows = all_rows()
    goldfish, limit = rows[0], rows[2]
    spread = {"rate": 12.4, "p50_ms": 1.0, "p99_ms": 3.0}
    goldfish["clients"]["8"]["deviations"] = limit["clients"]["0"]["deviations"] = spread
    goldfish["deviations"] = {"start_seconds": 0.16, "idle_mb": 2, "load_mb": 3}
    shown = contender_table(run(rows) | {"tolerated": 0.05})
    assert (
        "| **Goldfish, 8 bit** | 50, 450 ±12, 450 | 20 ±1, 40 ±3 ms | 100 ±2, 100 ±3 MB | 1.0 ±0.2 s |"
        in shown
    )
    assert "| the limit, 8 bit | 500 ±12 | | 90 MB |" in shown
    assert "±" not in shown.partition("| the limit, float32 |")[2].partition("\n\n")[0]
    assert "3 shuffled rounds of 8 s, ± the largest deviation of a round from its median" in shown
    assert "starts and loads are repeated if others take more than 5% of the cores." in shown
    assert "Goldfish, 8 bit 450 ±12, " in quick_summary(run(rows))


def test_disturbed_rows_are_marked_and_named() -> None:
    rows = all_rows()
    rows[5]["clients"]["1"] |= {"foreign": [0.0, 0.04, 0.0], "stolen": [0.0, 0.03, 0.0]}
    rows[6]["clients"]["1"] |= {"foreign": [0.03, 0.0, 0.0], "stolen": [0.0, 0.03, 0.0]}
    shown = contender_table(run(rows))
    assert "| Swift † | 50, 300, 300 |" in shown
    assert "| Slow | " in shown
    assert "† Others used the cores meanwhile, so these are not to be trusted: Swift." in shown
    assert "†" not in contender_table(run(all_rows()))


def test_a_disturbed_run_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, results = tmp_path / "README.md", tmp_path / "results.json"
    readme.write_text("<!-- bench-quick -->\nbefore\n<!-- end of bench-quick -->\n")
    monkeypatch.setattr(comparison, "README", readme)
    monkeypatch.setattr(comparison, "RESULTS", results)
    quick = run(all_rows())

    def write(found: dict[str, Any]) -> None:
        comparison.write_results("quick", found)

    quick["contenders"][0]["start"] = {"foreign": [0.25, 0.0], "stolen": [0.0, 0.0]}
    assert measure_and_write(lambda: quick, write) == 1
    printed = capsys.readouterr()
    assert "| **Goldfish, 8 bit** † |" in printed.out
    assert "error: nothing was written" in printed.err
    assert "Goldfish, 8 bit (25%)" in printed.err
    assert "before" in readme.read_text()
    assert not results.exists()
    quick["contenders"][0]["start"]["foreign"][0] = 0.0
    assert measure_and_write(lambda: quick, write) == 0
    assert "Goldfish, 8 bit 450" in readme.read_text()
    assert results.exists()


def test_the_conditions_tell_which_cores_were_set_apart() -> None:
    results = run(all_rows())
    results["machine"] |= {"cores": 4, "pinned": {"generator": [3], "contender": [0, 1, 2]}}
    assert (
        "A CPU, 4 cores, of which the load generator (wrk 4.1.0) has 1 for itself and each server 3;"
        in contender_table(results)
    )
    results["machine"] |= {"cores": 2, "pinned": {"generator": [], "contender": []}}
    assert "A CPU, 2 cores that the load generator (wrk 4.1.0) shares;" in contender_table(results)


def test_failed_requests_are_counted() -> None:
    rows = all_rows()
    rows[5]["clients"]["64"] = load_row(100, errors=1234)
    assert "- Swift: 1,234 requests failed." in contender_table(run(rows))


def test_missed_targets_show_by_how_much() -> None:
    assert "| memory under load against the same | ≤ 1/20 | 1/18.0 | missed by 11 % |" in contender_table(
        run(all_rows())
    )


def test_the_limit_is_compared_with_the_tutorial() -> None:
    rows = all_rows()
    limit = next(row for row in rows if row["kind"] == "limit")
    app = next(row for row in rows if row["kind"] == "tutorial")
    limit["clients"]["0"]["rate"] = 600
    limit["load_mb"], app["load_mb"], app["clients"]["8"]["rate"] = 50, 2000, 20
    assert "is 30 times the tutorial's app, in 1/40 of its memory" in contender_table(run(rows))


def test_the_small_model_has_a_row_for_every_setup() -> None:
    rows = [each | {"setup": f"{number} workers"} for number, each in enumerate(all_rows())]
    rows[0]["setup"] = CHOSEN_WORKERS
    results = run(rows)
    results["photos"]["format"] = "PNG"
    shown = small_model_table(results)
    assert f"| **Goldfish, 8 bit** | {CHOSEN_WORKERS} | 50, 450, 450 | 20, 40 ms | 100, 100 MB |" in shown
    assert "| Broken | 7 workers | not measured, see below | | | | | |" in shown
    assert "- Broken was not measured: no right answer within 120 s" in shown
    assert "20 PNGs of 70 kB" in shown
    assert "| Goldfish, 8 bit against the best of the others, Swift | ≥ 1.5 x | 1.50 x | met |" in shown
    assert shown.endswith("The bare limit, without a server, is 1.67 times Swift.\n")


def test_a_quick_run_is_a_sentence() -> None:
    rows = [
        row("Goldfish, float32", "ours", "float32", 330.4, 1),
        row("the app", "tutorial", "float32", 10, 1),
    ]
    assert "requests/s: Goldfish, float32 330, the app 10." in quick_summary(run(rows))


def test_scaling_has_a_row_for_each_step() -> None:
    load = load_row(100) | {"load_mb": 120}
    measured = {
        "clients": [load | {"clients": 256, "queue": 32, "errors": 1234}],
        "photos": [load | {"width": 4000, "height": 3000, "bytes": 3_000_000}],
        "loops": [{"threads": 2, "inner": 1, "rate": 400, "p50_ms": 5}],
    }
    shown = scaling_tables({"growth": measured})
    assert "| 256 | 32 | 100 | 20, 40 ms | 120 MB | 1,234 |" in shown
    assert "| 4000 x 3000 | 3,000 kB | 100 | 20, 40 ms | 120 MB |" in shown
    assert "| 2 | 1 | 400 | 5.0 ms |" in shown


def test_the_same_results_give_the_same_chart(tmp_path: Path) -> None:
    one, two, other = tmp_path / "one.png", tmp_path / "two.png", tmp_path / "other.png"
    plot.draw(one, run(all_rows()))
    plot.draw(two, run(all_rows()))
    plot.draw(other, run(all_rows()[:5]))
    assert one.read_bytes() == two.read_bytes() != other.read_bytes()
    with Image.open(one) as chart:
        assert chart.info[plot.HASH_KEY] == plot.figures_hash(run(all_rows()))
        assert chart.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_the_small_model_has_results_and_a_section_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, page = tmp_path / "results.json", tmp_path / "performance.md"
    results.write_text('{"full": {"date": "2026-11-22"}}')
    page.write_text("before\n<!-- bench-digits -->\nold\n<!-- end of bench-digits -->\nafter\n")
    monkeypatch.setattr(comparison, "RESULTS", results)
    monkeypatch.setattr(comparison, "PERFORMANCE", page)
    measured = run([each | {"setup": "2 workers"} for each in all_rows()])
    comparison.write_results("digits", measured)
    assert json.loads(results.read_text()) == {"full": {"date": "2026-11-22"}, "digits": measured}
    assert section(page, "bench-digits") == small_model_table(measured)
