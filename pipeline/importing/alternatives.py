"""Compares the declared way to prepare pixels with others, on labelled photos, for the gate and the card."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.importing.candidates import resize_candidates, scale_candidates
from pipeline.importing.declaration import Declaration, describe
from pipeline.importing.label_order import LabelOrder, find_label_order
from pipeline.importing.trials import LabelledFile, Network, Trial, run_trials

# More photos hardly change which way is best, and slow networks need a tenth of a second for each.
MAX_PHOTOS = 400
DIGITS = 5


@dataclass(frozen=True)
class Alternatives:
    """The trials, best first, and another order of the labels if that is clearly better."""

    declared: Trial
    trials: list[Trial]
    label_order: LabelOrder | None

    def to_json(self) -> dict[str, Any]:
        """As stored in import.json: each way with its counts and the paired test against the declared one."""
        return {
            "photos": len(self.declared.actual),
            "trials": [_row(trial, self.declared) for trial in self.trials],
            "label_order": None if self.label_order is None else asdict(self.label_order),
        }


def compare_alternatives(
    network: Network, declared: Declaration, photos: Sequence[LabelledFile], labels: Sequence[str]
) -> Alternatives:
    """Tries every scale with the declared way to resize, and every way to resize with the declared scale."""
    scales = scale_candidates(declared, network.description)
    candidates = [*scales, *resize_candidates(declared)[1:]]
    trials = run_trials(
        network, photos[:MAX_PHOTOS], candidates, keep=(declared,), description="try preprocessing"
    )
    trial = next(trial for trial in trials if trial.declaration == declared)
    return Alternatives(trial, trials, find_label_order(trial.predicted, trial.actual, labels))


def _row(trial: Trial, declared: Trial) -> dict[str, Any]:
    """`lost` are the photos that only this way has right, `gained` those that only the declared one has."""
    lost, gained, p_value = declared.worse_than(trial)
    return {
        **describe(trial.declaration),
        "declared": trial is declared,
        "photos": trial.photos,
        "correct": int(trial.correct.sum()),
        "top1": round(trial.top1, DIGITS),
        "top1_interval": [round(bound, DIGITS) for bound in trial.interval],
        "lost": lost,
        "gained": gained,
        "p_value": float(f"{p_value:.3g}"),
    }
