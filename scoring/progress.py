"""Shows how far a run is: a bar in a terminal, a line every half minute elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

# Seconds between lines where there is no terminal, as in the log of an array job.
LINE_SECONDS = 30.0


class Progress:
    """Counts the images of a run. Use it as a context manager."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._skipped = total, 0, 0
        self._began = self._shown = time.monotonic()
        self._bar = tqdm(total=total, desc="score", unit="image", disable=None, smoothing=0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    @property
    def rate(self) -> float:
        """Images per second that were scored in this run."""
        return self._done / max(1e-9, time.monotonic() - self._began)

    @property
    def done(self) -> int:
        """Images that were scored in this run."""
        return self._done

    @property
    def skipped(self) -> int:
        """Images of parts that an earlier run has finished."""
        return self._skipped

    def skip(self, images: int) -> None:
        """Counts a part that is finished."""
        self._skipped += images
        # The rate is of what is scored now.
        self._bar.total = self._total - self._skipped
        self._bar.refresh()

    def add(self, images: int) -> None:
        """Counts images that were scored."""
        self._done += images
        self._bar.update(images)
        if self._bar.disable and time.monotonic() - self._shown >= LINE_SECONDS:
            self._shown = time.monotonic()
            left = self._total - self._skipped - self._done
            print(
                f"{self._done + self._skipped:,} of {self._total:,} images, {self.rate:.0f}/s, "
                f"{tqdm.format_interval(left / max(self.rate, 1e-9))} left",
                file=sys.stderr,
                flush=True,
            )
