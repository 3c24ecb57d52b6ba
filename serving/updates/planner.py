"""Plans the versions of one model; only the leading worker does."""

import time
from dataclasses import dataclass

from msgspec.structs import replace

from serving.api.model_versions import ModelVersions
from serving.trial.decision import Decision, State
from serving.updates.errors import NotAskedYet, code_of
from serving.updates.plan import Plan, Refusal, Report, Reports, Version, first_plan
from serving.updates.shared import Shared
from serving.updates.targets import Target

# Code of a version that is worse than the active one.
TRIAL_LOST = "trial_lost"
# Seconds, from when this worker has loaded a version, after which one that says nothing of it is not waited
# for: it hangs.
PATIENCE_SECONDS = 120.0


@dataclass
class Planner:
    """`target` names the active version; `candidates`, if there is one, the version that is on trial.

    Without `candidates` a new version is on trial before it becomes active, if the settings ask for trials.
    """

    versions: ModelVersions
    target: Target
    candidates: Target | None
    shared: Shared

    def look(self) -> None:
        """Reads the targets, and writes the next plan and the reports if they differ from the last ones."""
        board, name = self.shared.board, self.versions.name
        before, last = board.read_plan(name), board.read_reports(name)
        plan = before or first_plan(self.versions.active.pin)
        plan = self._drop_previous(plan)
        plan, active = self._follow(plan, self._read(self.target, last.active))
        candidate = Report()
        if self.candidates:
            plan, candidate = self._try(plan, self._read(self.candidates, last.candidate))
        if plan != before:
            board.write_plan(name, plan)
        reports = Reports(active, candidate)
        if reports != last:
            self._log_failures(last, reports)
            board.write_reports(name, reports)

    @property
    def _tries_first(self) -> bool:
        settings = self.shared.settings
        return self.candidates is None and (settings.shadow > 0 or settings.canary > 0)

    def _read(self, target: Target, last: Report) -> Report:
        """What a target names now; the last known version if it cannot be read."""
        try:
            pin = target.read()
            target.check_allowed(pin)
        except NotAskedYet:
            return last
        # Whatever fails, the server goes on with what it has.
        except Exception as error:  # noqa: BLE001
            return replace(last, refusal=None, failure=_failure(error))
        return Report(Version.of(pin), succeeded=round(time.time()))

    def _follow(self, plan: Plan, report: Report) -> tuple[Plan, Report]:
        """The plan that leads to the version of the target."""
        target, board = report.target, self.shared.board
        if report.failure or target is None:
            return self._judge_first(plan), report
        if target.digest == plan.active.digest:
            # Perhaps under another number. A worker that started later may have failed to load it.
            plan = self._stop_trying(replace(plan, active=target, loading=None))
            return plan, replace(report, refusal=board.refusal(target.digest))
        if refusal := board.refusal(target.digest):
            return self._stop_trying(replace(plan, loading=None)), replace(report, refusal=refusal)
        if plan.candidate and plan.candidate.digest == target.digest:
            plan = self._judge_first(plan) if self._tries_first else self._activate(plan, target)
            return plan, replace(report, refusal=board.refusal(target.digest))
        if plan.loading != target:
            return replace(self._stop_trying(plan), loading=target), report
        failure = board.failure(target.digest)
        if failure or not self._is_loaded(target):
            return plan, replace(report, failure=failure)
        if self._tries_first and not _is(plan.previous, target):
            return self._begin_trial(replace(plan, loading=None), target), report
        return self._activate(plan, target), report

    def _try(self, plan: Plan, report: Report) -> tuple[Plan, Report]:
        """The plan that puts the version of the alias for candidates on trial."""
        target, board = report.target, self.shared.board
        if report.failure or target is None:
            return self._judge(plan)[0], report
        refusal = board.refusal(target.digest)
        if refusal or target.digest == plan.active.digest:
            plan = replace(plan, candidate=None, trial="", loading_candidate=None)
            return plan, replace(report, refusal=refusal)
        if _is(plan.candidate, target):
            plan, _ = self._judge(replace(plan, candidate=target))
            return plan, replace(report, refusal=board.refusal(target.digest))
        if plan.loading_candidate != target:
            return replace(plan, candidate=None, trial="", loading_candidate=target), report
        failure = board.failure(target.digest)
        if failure or not self._is_loaded(target):
            return plan, replace(report, failure=failure)
        return self._begin_trial(replace(plan, loading_candidate=None), target), report

    def _is_loaded(self, version: Version) -> bool:
        """Have all workers that do not hang loaded a version? This one must have, if it takes hours."""
        board = self.shared.board
        loaded_at = board.loaded_at(version.digest)
        if loaded_at is None:
            return False
        return board.all_have_loaded(version.digest) or time.time() > loaded_at + PATIENCE_SECONDS

    def _begin_trial(self, plan: Plan, candidate: Version) -> Plan:
        # A trial that was interrupted is continued; after SIGHUP it begins again.
        pair = f"{plan.active.digest[:32]}-{candidate.digest[:32]}"
        self._log("a trial begins", candidate)
        return replace(plan, candidate=candidate, trial=f"{pair}-{self.shared.reloads()}")

    def _judge_first(self, plan: Plan) -> Plan:
        """Ends the trial of a version that is to become active, if it is decided."""
        if not self._tries_first:
            return plan
        plan, decision = self._judge(plan)
        if decision and decision.state is State.AS_GOOD and plan.candidate:
            self._log("a trial was passed", plan.candidate, reason=decision.reason)
            return self._activate(plan, plan.candidate)
        return plan

    def _judge(self, plan: Plan) -> tuple[Plan, Decision | None]:
        """Ends the trial of a candidate that is worse, which is refused from now on."""
        trial = self.versions.loaded.trial
        if not plan.candidate or not trial or trial.name != plan.trial:
            return plan, None
        decision = trial.decision()
        if decision.state is State.WORSE:
            reason = f"It is worse than the served version: it {decision.reason}."
            self.shared.refuse(self.versions.name, plan.candidate, Refusal(TRIAL_LOST, reason))
            plan = replace(plan, candidate=None, trial="", loading=None, loading_candidate=None)
        return plan, decision

    def _stop_trying(self, plan: Plan) -> Plan:
        """Ends the trial of a version that was to become active and is not wanted any more."""
        return replace(plan, candidate=None, trial="") if self._tries_first and plan.candidate else plan

    def _activate(self, plan: Plan, version: Version) -> Plan:
        before = {"version": plan.active.version, "digest": plan.active.digest}
        self.shared.count(self.versions.name, "swapped")
        self._log("the served version has changed", version, replaced=before)
        # Another candidate is tried anew, against the version that is active now.
        return Plan(version, time.time(), previous=plan.active)

    def _drop_previous(self, plan: Plan) -> Plan:
        """Ends the time in which the version before stays loaded."""
        if plan.previous and time.time() >= plan.since + self.shared.settings.bake:
            self.shared.folder.remove_counts(plan.previous.digest)
            return replace(plan, previous=None)
        return plan

    def _log_failures(self, last: Reports, reports: Reports) -> None:
        """Logs each failure once."""
        followed = [(self.target, last.active, reports.active)]
        if self.candidates:
            followed.append((self.candidates, last.candidate, reports.candidate))
        for target, before, report in followed:
            if (failure := report.failure) and failure != before.failure:
                self.shared.count(self.versions.name, "failed")
                self._log(f"{target.name} cannot be followed", report.target, **_fields(failure))

    def _log(self, message: str, version: Version | None, **fields: object) -> None:
        self.shared.log(message, self.versions.name, version, **fields)


def _is(version: Version | None, other: Version) -> bool:
    return version is not None and version.digest == other.digest


def _failure(error: Exception) -> Refusal:
    return Refusal(code_of(error), str(error) or type(error).__name__)


def _fields(failure: Refusal) -> dict[str, str]:
    return {"code": failure.code, "reason": failure.reason}
