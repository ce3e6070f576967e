"""The output of ``verbose`` for an optimisation: a table of iterates, and a line at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distfd.core.validation import is_whole
from distfd.evaluation.verbosity import check_verbose, plural
from distfd.optimization.history import HEADER, table_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distfd.optimization.history import Iterate, Record

_TALK = ("disp", "verbose")
"""SciPy's options that control how much is printed."""


def talk(options: Any, verbose: Any) -> tuple[Any, int]:
    """Options without those that control printing, and the highest level that these or ``verbose`` ask for.

    Raises
    ------
    InputError
        If ``verbose`` makes no sense.
    """
    level = check_verbose(verbose)
    given: Mapping[str, Any] = options if hasattr(options, "items") else {}
    for name in _TALK:
        if name in given:
            asked = given[name]
            level = max(level, min(int(asked), 2) if is_whole(asked) else int(bool(asked)))
    return ({k: v for k, v in given.items() if k not in _TALK} if given else options), level


class OptimizationPrinter:
    """Prints at a level, 0, 1 or 2; `ended` prints the last line."""

    def __init__(self, record: Record, level: int) -> None:
        self._record, self._level = record, level
        if level > 1:
            record.written = self._row

    def ended(self, result: Any) -> Any:
        """Prints the last line and returns the result."""
        if self._level > 0:
            record = self._record
            text = str(result.message).strip().rstrip(".")
            spent = plural(record.n_evaluations + record.n_reused, "evaluation")
            at = "" if record.best is None else f"; {record.measure} = {record.best.value:.8g}"
            how = "" if result.success else "not converged: "
            print(f"{how}{text}{at}, {plural(record.iterations, 'iteration')}, {spent}", flush=True)  # noqa: T201
        return result

    def _row(self, row: Iterate) -> None:
        """Prints one row, and the header before the first."""
        if len(self._record.history) == 1:
            print(table_line((HEADER[0], self._record.measure, *HEADER[2:])))  # noqa: T201
        print(table_line(row.cells()), flush=True)  # noqa: T201  # print, as SciPy does
