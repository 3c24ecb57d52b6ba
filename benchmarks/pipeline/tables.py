"""The results as the manual shows them. Pure."""

from typing import Any

from benchmarks.serving.figures import at_least

# Of the bare limit.
TARGET = 0.8

Run = dict[str, Any]


def table(run: Run) -> str:
    """The parts in the order in which one reads them, and what they are worth."""
    conditions = f"{run['date']}, commit {run['commit']}, {run['cpu']}, {run['cores']:g} cores."
    return "\n".join([*_stages(run), "", *_answers(run["answers"]), "", *_grown(run), "", conditions]) + "\n"


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
    target = at_least("photos/s that `evaluate` answers, against the bare limit", TARGET, seen["share"])
    return [
        "| | target | measured | |",
        "| --- | --- | --- | --- |",
        f"| {target.what} | {target.target} | {target.measured} | {target.verdict} |",
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
