"""Compares the declared way to prepare pixels with others, on labelled photos, for the gate and the card."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.importing.candidates import first_guess, resize_candidates, scale_candidates
from pipeline.importing.declaration import Declaration, describe
from pipeline.importing.label_order import LabelOrder
from pipeline.importing.trials import LabelledFile, Network, Trial, run_trials

# More photos hardly change which way is best, and slow networks need a tenth of a second for each.
MAX_PHOTOS = 400
DIGITS = 5


@dataclass(frozen=True)
class Alternatives:
    """The trials, best first, and another order of the labels if that is clearly better.

    `in_file` is the way of the layers at the start of the file, if there are any.
    """

    declared: Trial
    in_file: Declaration | None
    trials: list[Trial]
    label_order: LabelOrder | None

    def to_json(self) -> dict[str, Any]:
        """As stored in import.json: each way with its counts and the paired test against the declared one."""
        return {
            "photos": len(self.declared.actual),
            "trials": [self._row(trial) for trial in self.trials],
            "label_order": None if self.label_order is None else asdict(self.label_order),
        }

    def _row(self, trial: Trial) -> dict[str, Any]:
        """`lost` are photos that only this way has right, `gained` those that only the declared one has."""
        lost, gained, p_value = self.declared.worse_than(trial)
        return {
            **describe(trial.declaration),
            "declared": trial is self.declared,
            "in_file": trial.declaration == self.in_file,
            "photos": trial.photos,
            "correct": int(trial.correct.sum()),
            "top1": round(trial.top1, DIGITS),
            "top1_interval": [round(bound, DIGITS) for bound in trial.interval],
            "lost": lost,
            "gained": gained,
            "p_value": float(f"{p_value:.3g}"),
        }


def compare_alternatives(
    network: Network, declared: Declaration, photos: Sequence[LabelledFile], labels: Sequence[str]
) -> Alternatives:
    """Tries every scale with the declared way to resize, and every way to resize with the declared scale."""
    description, preprocessing = network.description, declared.preprocessing
    candidates = [*scale_candidates(declared, description), *resize_candidates(declared)[1:]]
    in_file = None
    if description.scaling or description.resize:
        in_file = first_guess(description, (preprocessing.height, preprocessing.width))
        candidates += [in_file] if in_file not in candidates else []
    kept = [declaration for declaration in (declared, in_file) if declaration]
    trials = run_trials(network, photos[:MAX_PHOTOS], candidates, keep=kept, description="try preprocessing")
    trial = next(trial for trial in trials if trial.declaration == declared)
    return Alternatives(trial, in_file, trials, trial.label_order(labels))
