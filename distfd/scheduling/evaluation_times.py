"""How long evaluations take, as far as a session has seen: hints for order and size of chunks, never for results."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RECENT = 256
"""Evaluations of which the median is taken."""
_WAVES = 4
"""So many kinds of wave are told apart, by their number of points."""
_ALIKE = 1.2
"""Evaluations take the same time if nine of ten take at most so many times the median."""
_ENOUGH = 8
"""Evaluations after which that can be said."""
_JITTER = 0.001
"""Seconds, more or less, that say nothing."""
_UNEVEN = 1.5
"""Times differ by point if the longest is so many times the median,"""
_MATTERS = 0.05
"""and so many seconds longer: of less, order cannot make anything."""

_STRAGGLES = 3.0
"""An evaluation that takes this many times what was to be expected may be tried by a second slot (the rule of cubed,
and of MapReduce before it: Dean & Ghemawat 2004)."""
_STRAGGLES_BY = 0.2
"""Seconds; less is an accident of scheduling."""


def backup_due(started: float, usual: float) -> float:
    """When what went out then, and should be back after so long, is so late that an idle slot may try it too."""
    return started + max(_STRAGGLES * usual, usual + _STRAGGLES_BY)


def _quantile(ordered: NDArray[np.float64], part: float) -> float:
    """As np.quantile, which takes thirty times as long for so few."""
    low = int(part * (len(ordered) - 1))
    below, above = float(ordered[low]), float(ordered[min(low + 1, len(ordered) - 1)])
    return below + (part * (len(ordered) - 1) - low) * (above - below)


class EvaluationTimes:
    """Mean, median, and the seconds that each point of a wave took when a wave of that size was last evaluated."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0
        self._recent: NDArray[np.float64] = np.empty(0)
        self._median: float | None = None
        self._even = False
        self._by_wave: dict[int, NDArray[np.float32]] = {}
        self._delays: deque[float] = deque(maxlen=_RECENT)
        self.guess: float | None = None
        """Seconds that each evaluation may take, by which chunks are sized until one has ended."""

    @property
    def mean(self) -> float | None:
        """Mean seconds of an evaluation; until one has ended, those that are guessed, or None."""
        return self._sum / self._count if self._count else self.guess

    @property
    def count(self) -> int:
        """Evaluations seen."""
        return self._count

    @property
    def median(self) -> float | None:
        """Median seconds of the latest evaluations; until one has ended, those that are guessed, or None."""
        self._look()
        return self._median if self._count else self.guess

    @property
    def even(self) -> bool:
        """Whether evaluations, on all the slots, take about the same time."""
        self._look()
        return self._even if self._count else self.guess is not None

    @property
    def delay(self) -> float:
        """Seconds, beyond its evaluations, in which nine of ten chunks have gone out and come back of late.

        Where slots are many to a core, or the driver is busy, that is no fault of the slot that is waited for.
        """
        return sorted(self._delays)[int(0.9 * (len(self._delays) - 1))] if self._delays else 0.0

    def note_delay(self, seconds: float) -> None:
        """A chunk took so long beyond its evaluations."""
        self._delays.append(max(0.0, seconds))

    def _look(self) -> None:
        if self._median is None and len(self._recent):
            ordered = np.sort(self._recent)
            self._median, most = _quantile(ordered, 0.5), _quantile(ordered, 0.9)
            self._even = len(self._recent) >= _ENOUGH and most <= _ALIKE * self._median + _JITTER

    def note(self, wave: int, index: NDArray[np.int64], seconds: NDArray[np.float64]) -> None:
        """Points ``index`` of a wave of that many points took these (n,) seconds."""
        if not len(seconds):
            return
        self._sum += float(seconds.sum())
        self._count += len(seconds)
        self._recent = np.concatenate((self._recent, seconds[-_RECENT:]))[-_RECENT:]
        self._median = None
        known = self._by_wave.pop(wave, None)
        if known is None:
            known = np.full(wave, np.nan, dtype=np.float32)
        before = known[index]
        # Down at once and up slowly: what a slow slot has made of a point is soon forgotten.
        known[index] = np.where(before < seconds, (before + seconds) / 2, seconds)
        self._by_wave[wave] = known
        while len(self._by_wave) > _WAVES:
            del self._by_wave[next(iter(self._by_wave))]

    def recall(self, wave: int, index: NDArray[np.int64], seconds: NDArray[np.float64]) -> None:
        """What an earlier process noted of its points; of a wave of this size, as far as one can tell."""
        self.note(wave, index[index < wave], seconds[index < wave])

    def expected(self, wave: int) -> NDArray[np.float64] | None:
        """Seconds to expect of each point of a wave of that many points; None where they are alike or not known."""
        known = self._by_wave.get(wave)
        if known is None:
            return None
        seen = known[~np.isnan(known)]
        if len(seen) < wave / 2:
            return None
        usual, longest = float(np.median(seen)), float(seen.max())
        if longest <= max(_UNEVEN * usual, usual + _MATTERS):
            return None
        return np.where(np.isnan(known), usual, known).astype(np.float64)
