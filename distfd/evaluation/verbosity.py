"""``verbose`` in SciPy's sense: 0 silent, 1 a line at the end, 2 a line an iteration too, to standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.validation import is_whole
from distfd.results.events import Differentiated, WaveEnded

if TYPE_CHECKING:
    from distfd.results.derivative_result import DerivativeResult
    from distfd.results.events import Event


def check_verbose(verbose: Any) -> int:
    """The level, 0, 1 or 2; True is 1 and False is 0.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if isinstance(verbose, (bool, np.bool_)):
        return int(verbose)
    if not is_whole(verbose) or not 0 <= verbose <= 2:
        raise InputError(
            f"verbose: must be 0 (silent), 1 (a line at the end) or 2 (a line an iteration) (was {verbose!r})"
        )
    return int(verbose)


def plural(n: int, what: str) -> str:
    """Such as "1 evaluation", "2 evaluations"."""
    return f"{n} {what}{'' if n == 1 else 's'}"


class DerivativePrinter:
    """An observer that prints what a one-call function has done.

    Parameters
    ----------
    name : str
        Of the function.
    level : int
        1: `ended` prints a line; 2: so does each wave.
    """

    def __init__(self, name: str, level: int) -> None:
        self._name, self._level = name, level
        self._evaluations = self._failed = self._waves = 0
        self._seconds = 0.0
        self._result: DerivativeResult | None = None

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Differentiated):
            self._result = event.result
        elif isinstance(event, WaveEnded):
            self._waves += 1
            self._evaluations += event.n_evaluations
            self._failed += event.n_failed
            self._seconds += event.wall_seconds
            if self._level > 1:
                told = _told(event.n_evaluations, event.n_failed, event.wall_seconds)
                print(f"{self._name}, wave {self._waves}: {told}", flush=True)  # noqa: T201  # as SciPy does

    def ended(self) -> None:
        """Print the last line."""
        told = _told(self._evaluations, self._failed, self._seconds)
        value = None if self._result is None else self._result.value
        at = f"J = {value:.8g}, " if value is not None and np.ndim(value) == 0 else ""
        print(f"{self._name}: {at}{told} in {plural(self._waves, 'wave')}", flush=True)  # noqa: T201


def _told(n: int, failed: int, seconds: float) -> str:
    return f"{plural(n, 'evaluation')}{f', {failed} failed' if failed else ''}, {seconds:.3g} s"
