"""The plan for the versions of one model, which all workers follow, and what the leading worker reports.

The worker with the lowest number leads: it reads pins and aliases, judges trials, and writes the plan. All
workers, the leading one too, load what the plan names and say so. When all of them have loaded a version, the
next plan makes it active. So all change at the same moment, and a worker that starts later finds the plan.
"""

import os
import time
from collections.abc import Callable, Collection

import msgspec

from serving.artifact.pin import Pin
from serving.workers.shared_folder import SharedFolder


class Version(msgspec.Struct, frozen=True):
    """A version of the model that a plan is for."""

    version: int
    digest: str

    @classmethod
    def of(cls, pin: Pin) -> "Version":
        return cls(pin.version, pin.digest)


class Plan(msgspec.Struct, frozen=True):
    """What should be loaded.

    `active` answers since the time `since` (seconds since 1970); `previous` did before. `candidate` is on
    trial, whose counts have the name `trial`. The last two are to be loaded, to become active or candidate.
    """

    active: Version
    since: float
    previous: Version | None = None
    candidate: Version | None = None
    trial: str = ""
    loading: Version | None = None
    loading_candidate: Version | None = None

    @property
    def wanted(self) -> list[Version]:
        """The versions that each worker loads."""
        named = (self.active, self.loading, self.candidate, self.loading_candidate)
        return [version for version in named if version is not None]

    @property
    def kept(self) -> set[str]:
        """The digests of versions that stay loaded."""
        versions = [*self.wanted, *([self.previous] if self.previous else [])]
        return {version.digest for version in versions}


class Refusal(msgspec.Struct, frozen=True):
    """Why a digest is not loaded; `code` is that of the error."""

    code: str
    reason: str


class Report(msgspec.Struct, frozen=True):
    """How it is going with one target: a pin or an alias.

    `refusal`: why its version is not loaded, until SIGHUP or a restart; `failure`: what failed, and will be
    tried again. `succeeded` is when the target was last read, in seconds since 1970.
    """

    target: Version | None = None
    refusal: Refusal | None = None
    failure: Refusal | None = None
    succeeded: float = 0.0


class Reports(msgspec.Struct, frozen=True):
    """Those of the active version and of the candidate."""

    active: Report = Report()
    candidate: Report = Report()


class Board:
    """Plan, reports, and what the workers say of digests, as files of the shared folder.

    `live_workers` returns the numbers of the workers that run.
    """

    def __init__(self, folder: SharedFolder, live_workers: Callable[[], Collection[int]]) -> None:
        self.folder, self._live_workers = folder, live_workers
        # Of a worker that had the same number before.
        self.say_loaded(set())
        for path in folder.path.glob(f"failed-*.{folder.worker}"):
            path.unlink(missing_ok=True)

    @property
    def is_leader(self) -> bool:
        """Does this worker lead?"""
        return self.folder.worker == min(self._live_workers(), default=self.folder.worker)

    @property
    def is_alone(self) -> bool:
        """Is this the only worker?"""
        return len(self._live_workers()) < 2

    def read_plan(self, model: str) -> Plan | None:
        """The plan of a model; None before there is one."""
        data = self.folder.read(f"plan-{model}")
        return None if data is None else msgspec.json.decode(data, type=Plan)

    def plan_time(self, model: str) -> int:
        """When the plan was written, in a unit of the file system; 0 before there is one."""
        try:
            # Asked many times a second: `pathlib` would take several times as long.
            return os.stat(f"{self.folder.path}/plan-{model}").st_mtime_ns  # noqa: PTH116
        except FileNotFoundError:
            return 0

    def write_plan(self, model: str, plan: Plan) -> None:
        """Replaces the plan; called by the leading worker."""
        self.folder.write(f"plan-{model}", msgspec.json.encode(plan))

    def read_reports(self, model: str) -> Reports:
        """The reports on a model."""
        data = self.folder.read(f"reports-{model}")
        return Reports() if data is None else msgspec.json.decode(data, type=Reports)

    def write_reports(self, model: str, reports: Reports) -> None:
        """Replaces the reports; called by the leading worker."""
        self.folder.write(f"reports-{model}", msgspec.json.encode(reports))

    def refuse(self, digest: str, refusal: Refusal) -> bool:
        """Has all workers refuse a digest; returns whether this one was the first to."""
        return self.folder.write_once(f"refused-{digest}", msgspec.json.encode(refusal))

    def refusal(self, digest: str) -> Refusal | None:
        """Why a digest is refused; None if it is not."""
        return self._read_refusal(f"refused-{digest}")

    def forget_refusals(self) -> None:
        """Allows all refused digests to be tried again."""
        for path in self.folder.path.glob("refused-*"):
            path.unlink(missing_ok=True)

    def say_loaded(self, digests: set[str]) -> None:
        """Says which digests this worker has loaded, and no others."""
        own = self.folder.worker
        for path in self.folder.path.glob(f"loaded-*.{own}"):
            if path.name.removeprefix("loaded-").removesuffix(f".{own}") not in digests:
                path.unlink(missing_ok=True)
        for digest in digests:
            path = self.folder / f"loaded-{digest}.{own}"
            if not path.exists():
                path.touch()

    def say_failed(self, digest: str, failure: Refusal | None) -> None:
        """Says why this worker cannot load a digest now; None: it can."""
        name = f"failed-{digest}.{self.folder.worker}"
        if failure is None:
            (self.folder / name).unlink(missing_ok=True)
        else:
            self.folder.write(name, msgspec.json.encode(failure))

    def failure(self, digest: str) -> Refusal | None:
        """Why a worker cannot load a digest now; None if none has said so."""
        found = (self._read_refusal(f"failed-{digest}.{worker}") for worker in self._live_workers())
        return next((failure for failure in found if failure), None)

    def loaded_at(self, digest: str) -> float | None:
        """When this worker has loaded a digest, in seconds since 1970; None if it has not."""
        try:
            return (self.folder / f"loaded-{digest}.{self.folder.worker}").stat().st_mtime
        except FileNotFoundError:
            return None

    def all_have_loaded(self, digest: str) -> bool:
        """Has every worker loaded a digest?"""
        return all((self.folder / f"loaded-{digest}.{worker}").exists() for worker in self._live_workers())

    def _read_refusal(self, name: str) -> Refusal | None:
        data = self.folder.read(name)
        return None if data is None else msgspec.json.decode(data, type=Refusal)


def first_plan(active: Pin) -> Plan:
    """The plan of a server that has just started."""
    return Plan(Version.of(active), time.time())
