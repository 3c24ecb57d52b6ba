"""`python -m scoring MODEL INPUT --out DIR`: scores many images with the pinned model.

Reads the settings of the server that find and verify a bundle (serving/config.py). Writes `part-*.parquet`,
`plan.json` and `run.json` into the folder.
"""

import argparse
import sys
from typing import Any

from msgspec.structs import replace

from scoring.engines import local
from scoring.engines.job import Job
from scoring.errors import EngineMissing, OptionUnavailable
from scoring.inputs import list_images
from scoring.output import SUMMARY, Output
from scoring.plan import Options, Plan, Shard
from scoring.progress import Progress
from scoring.run import Engine, run
from scoring.scorer import Scorer
from serving.artifact.pin import Pin
from serving.artifact.release import find_release
from serving.config import Settings
from serving.cpu_count import available_cores
from serving.errors import ServingError
from serving.reliability import Reliability

TOO_MANY_REFUSED = 3


def main(arguments: list[str] | None = None) -> int:
    """Returns 0; 3 if more images were refused than `--max-errors`; 1 if the run could not be made."""
    options = parser().parse_args(arguments)
    try:
        return _run(options)
    except (ServingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with the parts that are missing", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    settings = replace(Settings.read(), model=options.model, models=())
    release = find_release(settings, options.model)
    images = list_images(options.input, options.column, options.root, options.out)
    wanted = Options(_level(Reliability.of_bundle(release.bundle), options.level), options.explain)
    job = Job(release.bundle, images.root, wanted)
    # Fails here rather than in a worker if the model does not give its golden predictions.
    Scorer(job.bundle, job.root, job.options)
    pin: Pin = release.pin
    plan = Plan(pin.name, pin.version, pin.digest, wanted, images.entries)
    if images.repeated:
        print(f"{images.repeated:,} paths are listed more than once, and scored once", file=sys.stderr)
    with Progress(sum(len(part.entries) for part in plan.parts(options.shard))) as progress:
        document = run(
            plan, Output(options.out), options.shard, _engine(options, job), options.retry, progress
        )
    skipped = f"; {progress.skipped:,} were finished before" if progress.skipped else ""
    print(f"{progress.done:,} images scored, {progress.rate:.0f}/s{skipped}", file=sys.stderr)
    if document is None:
        print("run.json will be written when the parts of all shards are there", file=sys.stderr)
        return 0
    print(f"{options.out}/{SUMMARY}: {document['images']:,} images, {_refused(document)}")
    too_many = options.max_errors is not None and document["refused"] > options.max_errors
    return TOO_MANY_REFUSED if too_many else 0


def _refused(document: dict[str, Any]) -> str:
    counts = ", ".join(f"{count:,} {code}" for code, count in sorted(document["errors"].items()))
    return f"{document['refused']:,} refused" + (f": {counts}" if counts else "")


def _level(reliability: Reliability, wanted: float | None) -> float | None:
    """The level of the label sets: the lowest one that the bundle has, unless another one is asked for."""
    if wanted is None:
        return next(iter(reliability.levels), None)
    if wanted not in reliability.levels:
        found = ", ".join(map(str, reliability.levels)) or "no level"
        raise OptionUnavailable(f"--level {wanted}", f"the model has label sets for {found}")
    return wanted


def _engine(options: argparse.Namespace, job: Job) -> Engine:
    if options.engine == "local":
        workers = options.workers or max(1, round(available_cores()))
        return lambda chunks, alone: local.score(job, chunks, workers, alone)
    try:
        from scoring.engines import ray_cluster
    except ModuleNotFoundError:
        raise EngineMissing from None
    ray_cluster.connect()
    return lambda chunks, alone: ray_cluster.score(job, chunks, options.workers)


def _shard(text: str) -> Shard:
    number, _, shards = text.partition("/")
    shard = Shard(int(number), int(shards))
    if not 1 <= shard.number <= shard.shards:
        raise argparse.ArgumentTypeError(
            f"{text} is no share: 1/{shards} is the first, {shards}/{shards} the last"
        )
    return shard


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m scoring",
        description="Classifies many images with the pinned model and writes the results as Parquet files.",
    )
    add = parser.add_argument
    add("model", help="a model with a pin, such as digits")
    add("input", help="a folder; a .txt with one path a line; a .csv or .parquet; an address; - for stdin")
    add("--out", required=True, metavar="DIR", help="where the results go: a folder or an address")
    add("--engine", choices=("local", "ray"), default="local", help="default: %(default)s")
    add("--workers", type=_positive, metavar="N", help="processes or actors; default: one for each core")
    add("--column", metavar="NAME", help="the column of a table; default: path, or the only one")
    add("--root", metavar="DIR", help="what relative paths are below; default: the folder of the list")
    add("--shard", type=_shard, default=Shard(), metavar="I/N", help="only this share of the parts, as 1/8")
    add("--level", type=float, metavar="P", help="coverage of the label sets; default: the lowest there is")
    add("--explain", action="store_true", help="also which places of the image speak for the class")
    add("--retry", action="store_true", help="score parts again that have unreadable files")
    add("--max-errors", type=int, metavar="N", help="exit with 3 if more images are refused; default: never")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
