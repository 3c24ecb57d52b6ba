"""What `inspect` prints: the file, its labels, the trials as a table, and what is left to declare."""

from collections.abc import Iterator, Sequence

from pipeline.importing.declaration import Declaration, format_scale
from pipeline.importing.inspection import Inspection
from pipeline.importing.trials import CLEARLY_WORSE, Trial
from pipeline.markdown import plain_text
from pipeline.model_files.model_file import Description, ResizeLayer, Scaling

# Rows of each table; the others are clearly worse.
MAX_ROWS = 12
MAX_LABELS = 5


def describe_file(description: Description) -> Iterator[str]:
    """What the file itself says, one fact per line."""
    yield f"{description.file}: {description.format}" + (
        f", written by {description.framework}" if description.framework else ""
    )
    sides = (description.height, description.width)
    size = "any size" if None in sides else f"{sides[0]} x {sides[1]} pixels"
    yield f"  input    {size}, {'one channel' if description.channels == 1 else 'three channels'}"
    yield f"  resizing {_resize(description.resize)}"
    yield f"  scaling  {_scaling(description.scaling)}"
    columns = f"{description.outputs} column{'s' * (description.outputs > 1)}"
    yield f"  output   {columns}, {description.head or 'and the file does not tell of what'}"
    for note in description.notes:
        yield f"  note     {note}"


def describe_inspection(inspection: Inspection) -> Iterator[str]:
    """The whole result, without the section of params.yaml."""
    yield from describe_file(inspection.description)
    labels = inspection.labels
    if labels is None:
        yield "  labels   unknown: name a file, one class per line in the order of the outputs, with --labels"
    else:
        names = ", ".join(plain_text(label.name, 30) for label in labels[:MAX_LABELS])
        yield f"  labels   {len(labels)}: {names}{', ...' if len(labels) > MAX_LABELS else ''}"
    if not inspection.resize_trials:
        missing = "labels" if labels is None else "labelled photos (--photos <folder of class folders>)"
        yield ""
        yield f"Nothing could be measured without {missing}. What the file does not tell is a guess below."
        return
    if order := inspection.label_order:
        yield ""
        yield (
            f"The labels are not in the order of the outputs: of {order.photos} photos {order.given} are "
            f"right in the given order and {order.found} in another ({order.name}), which is used below."
        )
    yield ""
    yield from _table("Scales and channels", inspection.scale_trials)
    yield ""
    yield from _table("Ways to resize", inspection.resize_trials)
    yield ""
    yield f"Recommended: {format_declaration(inspection.best)}"


def _table(title: str, trials: Sequence[Trial]) -> Iterator[str]:
    yield f"{title:<50} photos  right    top-1  95 % interval"
    best = trials[0]
    for trial in trials[:MAX_ROWS]:
        low, high = trial.interval
        worse = trial.worse_than(best)[2] < CLEARLY_WORSE
        yield (
            f"  {format_declaration(trial.declaration):<48} {trial.photos:>6} {int(trial.correct.sum()):>6} "
            f"{trial.top1:>7.1%}  {low:.1%} to {high:.1%}{'  clearly worse' if worse else ''}"
        )
    if len(trials) > MAX_ROWS:
        yield f"  and {len(trials) - MAX_ROWS} more"


def format_declaration(declaration: Declaration) -> str:
    """One line: `[-1, 1] RGB, crop 0.875, bicubic`."""
    preprocessing = declaration.preprocessing
    crop = f" {preprocessing.crop:g}" if preprocessing.resize == "crop" else ""
    antialias = "" if preprocessing.antialias else ", no antialias"
    return (
        f"{format_scale(declaration.scale)} {declaration.channels}, {preprocessing.resize}{crop}, "
        f"{preprocessing.filter}{antialias}"
    )


def _resize(layer: ResizeLayer | None) -> str:
    if layer is None:
        return "not in the file"
    how = "with antialias" if layer.antialias else "without antialias"
    return f"a layer: {layer.height} x {layer.width}, {layer.resize}, {layer.filter}, {how}"


def _scaling(scaling: Scaling | None) -> str:
    if scaling is None:
        return "not at the start of the file"
    ranges = [
        f"{offset:.4g} to {255 * factor + offset:.4g}"
        for factor, offset in zip(scaling.factor, scaling.offset, strict=True)
    ]
    return f"layers: pixels 0 to 255 become {', '.join(dict.fromkeys(ranges))}"
