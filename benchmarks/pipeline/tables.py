"""Markdown tables of a run, for docs/pipeline.md and README.md. Pure."""

from typing import Any

from benchmarks import targets
from benchmarks.targets import Target, at_least, at_most

# Targets: share of the bare limit; seconds of `make run` from nothing, and of both with nothing to do.
LIMIT_SHARE = 0.8
RUN_SECONDS, RUN_AGAIN_SECONDS, REPRO_AGAIN_SECONDS = 180, 10, 3

Run = dict[str, Any]


def pipeline_tables(run: Run) -> str:
    """The section of docs/pipeline.md: stages, throughput, larger samples, conditions."""
    parts = [
        *_stage_table(run),
        "",
        *_throughput(run["answers"]),
        "",
        *_sample_table(run),
        "",
        _conditions(run),
    ]
    return "\n".join(parts) + "\n"


def target_table(run: Run) -> str:
    """The README's section: the durations that a user notices, beside their targets."""
    commands = run["commands"]
    from_nothing = commands["first"] + commands["pinning"]
    rows = [
        at_most("`make run` after set-up, from nothing", RUN_SECONDS, from_nothing, "s"),
        at_most("`make run` again, nothing changed", RUN_AGAIN_SECONDS, commands["run"], "s"),
        at_most("`dvc repro`, nothing changed", REPRO_AGAIN_SECONDS, commands["again"], "s"),
        _limit_target(run["answers"]),
    ]
    return "\n".join([*targets.table(rows), "", _conditions(run)]) + "\n"


def _conditions(run: Run) -> str:
    return f"{run['date']}, commit {run['commit']}, {run['cpu']}, {run['cores']:g} cores."


def _limit_target(throughput: Run) -> Target:
    what = "photos/s that `evaluate` answers, against the bare limit"
    return at_least(what, LIMIT_SHARE, throughput["share"])


def _stage_table(run: Run) -> list[str]:
    commands, stages = run["commands"], run["stages"]
    dvc = commands["first"] - sum(row["seconds"] for row in stages)
    imports = sum(row["imports"] for row in stages)
    return [
        "| digits, from nothing | took | of that, imports |",
        "| --- | --- | --- |",
        *(f"| {row['stage']} | {row['seconds']:.1f} s | {row['imports']:.1f} s |" for row in stages),
        f"| DVC itself | {dvc:.1f} s | |",
        f"| **`dvc repro`** | **{commands['first']:.1f} s** | {imports:.1f} s |",
        f"| `dvc repro` again, nothing changed | {commands['again']:.1f} s | |",
        f"| `make run` after it: registry, pin, one answer | {commands['pinning']:.1f} s | |",
        f"| `make run` again, nothing changed | {commands['run']:.1f} s | |",
    ]


def _throughput(throughput: Run) -> list[str]:
    return [
        *targets.table([_limit_target(throughput)]),
        "",
        f"ImageNet's {throughput['photos']:,} photos of {throughput['mean_bytes'] / 1000:.0f} kB on average, "
        f"{throughput['precision']}: {throughput['rate']:.0f} against {throughput['limit']:.0f} photos/s, "
        f"medians of {throughput['rounds']} rounds in turn.",
    ]


def _sample_table(run: Run) -> list[str]:
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
