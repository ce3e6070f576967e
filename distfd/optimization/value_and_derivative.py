"""Supplies J and its derivative to a method that asks for a value first, and then perhaps for the derivative there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import EvaluationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from distfd.evaluation.derivative_future import Pending
    from distfd.evaluation.evaluator import Evaluator
    from distfd.evaluation.keywords import Kind
    from distfd.evaluation.tally import Tally
    from distfd.optimization.history import Record
    from distfd.optimization.speculation import Speculation
    from distfd.results.derivative_result import DerivativeResult


class ValueAndDerivative:
    """Holds one open wave with value and derivative at x, and cancels it when the method turns to another x.

    Parameters
    ----------
    evaluator : Evaluator
    record : Record
        Counts the effort.
    speculation : Speculation
    kind : str
        Kind of derivative.
    **particulars
        Further arguments for that kind.
    """

    def __init__(
        self, evaluator: Evaluator, record: Record, speculation: Speculation, kind: Kind, **particulars: Any
    ) -> None:
        self._evaluator = evaluator
        self._record = record
        self._speculation = speculation
        self._kind = kind
        self._particulars = particulars
        self._open: Pending | None = None
        self._whole = False
        """Whether the open wave evaluates the derivative, and not only the value."""
        self._used = False
        """Whether the derivative at this x was asked for."""
        self._counted = False
        self._shared = 0
        """Number of evaluations in the open wave that were counted before."""

    def value(self, x: ArrayLike) -> Any:
        """J(x); the derivative's points are evaluated with it where that is worthwhile.

        Raises
        ------
        EvaluationError
            If J fails there.
        """
        at = np.array(x, dtype=np.float64)
        if not self._is_open(at):
            self._turn_to(at, whole=self._speculation.worthwhile(self._evaluator.slots))
            self._record.n_values += 1
        assert self._open is not None, "just opened"
        try:
            if not self._whole:
                self._open.result()
                self._count()
            return self._open.value()
        except EvaluationError:
            self._used = True  # a failed trial says nothing about how often trials are accepted
            raise

    def derivative(self, x: ArrayLike, kept: NDArray[np.bool_] | None = None) -> DerivativeResult:
        """The derivative at x; ``kept`` says which of J's outputs, (m,), must have one, by default all.

        Raises
        ------
        EvaluationError
            If J fails, or a component has no value.
        """
        at = np.array(x, dtype=np.float64)
        if not self._is_open(at) or not self._whole:
            same = self._is_open(at)
            self._turn_to(at, whole=True, judged=not same)
            self._shared = int(same)
        assert self._open is not None, "just opened"
        if not self._used:
            self._used = True
            self._speculation.note(accepted=True)
        result = self._open.result()
        self._count()
        self._learn(self._open.tally)
        missing = result.missing
        if len(missing) and kept is not None:
            entries = result.missing_entries
            missing = np.unique(entries[kept[entries[:, 0]], 1])
        if len(missing):
            outputs = ""
            if self._kind == "jacobian":
                lost = np.unique(result.missing_entries[:, 0] if kept is None else entries[kept[entries[:, 0]], 0])
                outputs = f" for {len(lost)} of J's outputs, the first of them number {lost[0]}"
            raise EvaluationError(
                f"the derivative has no value at {len(missing)} coordinates, the first of them number "
                f"{missing[0]}{outputs}, and an optimiser needs all; correct J, its bounds or its step, or use "
                "on_failure: repair"
            )
        return result

    def close(self, *, judged: bool = False) -> None:
        """Cancels the open wave, and counts it."""
        if self._open is None:
            return
        if judged and not self._used:
            self._speculation.note(accepted=False)
            self._record.n_rejected += 1
        self._open.cancel()
        self._count()
        self._open = None

    def _count(self) -> None:
        """Adds the effort of finished evaluations to the record, once."""
        if self._open is not None and not self._counted:
            self._counted = True
            self._record.count(self._open.tally)
            # The value was evaluated and counted just before.
            self._record.n_reused -= self._shared

    def _is_open(self, x: NDArray[np.float64]) -> bool:
        return self._open is not None and self._open.x.tobytes() == x.tobytes()

    def _turn_to(self, x: NDArray[np.float64], *, whole: bool, judged: bool = True) -> None:
        self.close(judged=judged)
        kind = self._kind if whole else "value"
        self._used, self._whole, self._counted = False, whole, False
        self._shared = 0
        self._open = self._evaluator.begin(x, kind=kind, **(self._particulars if whole else {}))

    def _learn(self, tally: Tally) -> None:
        self._speculation.points = sum(len(request.points) for request, _ in tally.waves[:1])
        batches = [batch for _, batches in tally.waves for batch in batches if not batch.reused]
        n = sum(len(batch) for batch in batches)
        if n:
            self._speculation.seconds = float(sum((b.ended - b.started).sum() for b in batches)) / n
