"""Markdown tables of a run, for docs/pipeline.md and README.md. Pure."""

from typing import Any

from benchmarks.documents import markdown_table
from benchmarks.targets import Target, at_least, at_most, target_table

# Targets: share of the bare limit; seconds of `make run` from nothing, and of both with nothing to do.
LIMIT_SHARE = 0.8
RUN_SECONDS, RUN_AGAIN_SECONDS, REPRO_AGAIN_SECONDS = 180, 10, 3

Run = dict[str, Any]


def pipeline_tables(run: Run) -> str:
    """The section of docs/pipeline.md: stages, throughput, larger samples, conditions."""
    throughput = run["answers"]
    return (
        f"{_stage_table(run)}\n{target_table([_limit_target(throughput)])}\n"
        f"ImageNet's {throughput['photos']:,} photos of {throughput['mean_bytes'] / 1000:.0f} kB on average, "
        f"{throughput['precision']}: {throughput['rate']:.0f} against {throughput['limit']:.0f} photos/s, "
        f"medians of {throughput['rounds']} rounds in turn.\n\n{_sample_table(run)}\n{_conditions(run)}"
    )


def summary_table(run: Run) -> str:
    """The README's section: the durations that a user notices, beside their targets."""
    commands = run["commands"]
    from_nothing = commands["first"] + commands["pinning"]
    targets = [
        at_most("`make run` after set-up, from nothing", RUN_SECONDS, from_nothing, "s"),
        at_most("`make run` again, nothing changed", RUN_AGAIN_SECONDS, commands["run"], "s"),
        at_most("`dvc repro`, nothing changed", REPRO_AGAIN_SECONDS, commands["again"], "s"),
        _limit_target(run["answers"]),
    ]
    return f"{target_table(targets)}\n{_conditions(run)}"


def _conditions(run: Run) -> str:
    return f"{run['date']}, commit {run['commit']}, {run['cpu']}, {run['cores']:g} cores.\n"


def _limit_target(throughput: Run) -> Target:
    what = "photos/s that `evaluate` answers, against the bare limit"
    return at_least(what, LIMIT_SHARE, throughput["share"])


def _stage_table(run: Run) -> str:
    seconds = {name: f"{took:.1f} s" for name, took in run["commands"].items()}
    stages = run["stages"]
    dvc = run["commands"]["first"] - sum(row["seconds"] for row in stages)
    imports = sum(row["imports"] for row in stages)
    rows = [
        *((row["stage"], f"{row['seconds']:.1f} s", f"{row['imports']:.1f} s") for row in stages),
        ("DVC itself", f"{dvc:.1f} s", ""),
        ("**`dvc repro`**", f"**{seconds['first']}**", f"{imports:.1f} s"),
        ("`dvc repro` again, nothing changed", seconds["again"], ""),
        ("`make run` after it: registry, pin, one answer", seconds["pinning"], ""),
        ("`make run` again, nothing changed", seconds["run"], ""),
    ]
    return markdown_table(["digits, from nothing", "took", "of that, imports"], rows)


def _sample_table(run: Run) -> str:
    memory = "memory before, at most"
    columns = ["photos", "to check them (`prepare`)", memory, "to answer them (`evaluate`)", memory]
    rows = [
        (
            f"{row['images']:,}",
            f"{row['checks_seconds']:.1f} s",
            f"{row['checks_before_mb']}, {row['checks_mb']} MB",
            f"{row['answers_seconds']:.1f} s",
            f"{row['answers_before_mb']}, {row['answers_mb']} MB",
        )
        for row in run["grown"]
    ]
    return markdown_table(columns, rows)
