"""The defaults of a trial, in a file that imports nothing: the settings have them too."""

# One answer in twenty may change. A mistake in labels or preprocessing changes far more, and another training
# of the same network usually fewer; how many it is for a model, `python -m pipeline compare` shows.
AGREEMENT_FLOOR = 0.95
# Half as long again. Single slow calls on a busy machine decide nothing, because the share of answers counts.
MAX_SLOWDOWN = 1.5
