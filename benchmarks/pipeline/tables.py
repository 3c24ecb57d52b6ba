"""The results as the manual shows them. Pure."""

from typing import Any

from benchmarks.serving.figures import Target, at_least, at_most

# Of the bare limit, and seconds: from nothing, and twice with nothing to do.
SHARE = 0.8
FIRST, AGAIN, IDLE = 180, 10, 3

Run = dict[str, Any]


def table(run: Run) -> str:
    """The parts in the order in which one reads them, and what they are worth."""
    parts = [*_stages(run), "", *_answers(run["answers"]), "", *_grown(run), "", _conditions(run)]
    return "\n".join(parts) + "\n"


def targets(run: Run) -> str:
    """The README's part: what a user waits for, and whether it is as short as it should be."""
    took = run["commands"]
    rows = [
        at_most("`make run` after set-up, from nothing", FIRST, took["first"] + took["pinning"], "s"),
        at_most("`make run` again, nothing changed", AGAIN, took["run"], "s"),
        at_most("`dvc repro`, nothing changed", IDLE, took["again"], "s"),
        _share(run["answers"]),
    ]
    return "\n".join([*_rows(rows), "", _conditions(run)]) + "\n"


def _conditions(run: Run) -> str:
    return f"{run['date']}, commit {run['commit']}, {run['cpu']}, {run['cores']:g} cores."


def _rows(found: list[Target]) -> list[str]:
    return [
        "| | target | measured | |",
        "| --- | --- | --- | --- |",
        *(f"| {row.what} | {row.target} | {row.measured} | {row.verdict} |" for row in found),
    ]


def _share(seen: Run) -> Target:
    what = "photos/s that `evaluate` answers, against the bare limit"
    return at_least(what, SHARE, seen["share"])


def _stages(run: Run) -> list[str]:
    commands, stages = run["commands"], run["stages"]
    own = commands["first"] - sum(row["seconds"] for row in stages)
    imports = sum(row["imports"] for row in stages)
    return [
        "| digits, from nothing | took | of that, imports |",
        "| --- | --- | --- |",
        *(f"| {row['stage']} | {row['seconds']:.1f} s | {row['imports']:.1f} s |" for row in stages),
        f"| DVC itself | {own:.1f} s | |",
        f"| **`dvc repro`** | **{commands['first']:.1f} s** | {imports:.1f} s |",
        f"| `dvc repro` again, nothing changed | {commands['again']:.1f} s | |",
        f"| `make run` after it: registry, pin, one answer | {commands['pinning']:.1f} s | |",
        f"| `make run` again, nothing changed | {commands['run']:.1f} s | |",
    ]


def _answers(seen: Run) -> list[str]:
    return [
        *_rows([_share(seen)]),
        "",
        f"ImageNet's {seen['photos']:,} photos of {seen['mean_bytes'] / 1000:.0f} kB on average, "
        f"{seen['precision']}: {seen['rate']:.0f} against {seen['limit']:.0f} photos/s, medians of "
        f"{seen['rounds']} rounds in turn.",
    ]


def _grown(run: Run) -> list[str]:
    return [
        "| photos | to check them (`prepare`) | memory before, at most | to answer them (`evaluate`) "
        "| memory before, at most |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {row['images']:,} | {row['checks_seconds']:.1f} s "
            f"| {row['checks_before_mb']}, {row['checks_mb']} MB | {row['answers_seconds']:.1f} s "
            f"| {row['answers_before_mb']}, {row['answers_mb']} MB |"
            for row in run["grown"]
        ),
    ]
