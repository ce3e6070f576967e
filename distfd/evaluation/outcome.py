"""How a call ends: its result, its error, its warnings."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.describe import failure_message, where
from distfd.core.errors import DerivativeWarning, EvaluationError
from distfd.core.records import Status
from distfd.core.warning import warn
from distfd.results.derivative_result import DerivativeResult
from distfd.results.evaluations import Evaluations, evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.differentiation.method import Answer, Wave
    from distfd.evaluation.tally import Tally


def make_result(
    answer: Answer,
    tally: Tally,
    scheme: str,
    label: Callable[[int], str],
    *,
    slots: int,
    kind: str,
    x: NDArray[np.float64],
    names: Sequence[str] | None,
    outputs: Sequence[str] | None = None,
) -> DerivativeResult:
    """The answer, and what it took."""
    found = answer.consistency
    return DerivativeResult(
        derivative=answer.derivative,
        value=answer.value if kind == "jacobian" else scalar(answer.value),
        error=answer.error,
        step=answer.step,
        scheme=answer.scheme or scheme,
        missing=answer.missing,
        n_evaluations=tally.n_evaluations,
        n_reused=tally.n_reused,
        n_failed=tally.n_failed,
        n_retried=tally.n_retried,
        wall_seconds=tally.wall_seconds,
        efficiency=tally.efficiency,
        start_seconds=tally.start_seconds,
        evaluations=Evaluations(tally.waves, label),
        ideal_seconds=tally.ideal_seconds,
        slots=slots,
        warnings=answer.warnings,
        noise=answer.noise,
        x=x,
        names=None if names is None else tuple(names),
        kind=kind,
        outputs=None if outputs is None else tuple(outputs),
        repaired=answer.repaired,
        consistency=None if found is None else replace(found, n_evaluations=tally.n_optional),
        unchecked=answer.unchecked,
    )


def failure_error(
    wave: Wave, batches: Sequence[Batch], label: Callable[[int], str], *, always: bool
) -> EvaluationError | None:
    """The error where a failure is one: at the baseline in any case, elsewhere where ``always``.

    That of a point that only checks others never is, and a baseline with some of J's outputs has failed only where
    ``always``.
    """
    failed = np.flatnonzero(wave.status != Status.OK)
    failed = failed[~np.isin(failed, wave.request.optional)]
    if not len(failed):
        return None
    baseline = wave.request.baseline
    partial = not always and baseline is not None and bool(np.isfinite(wave.values[baseline]).any())
    if baseline is not None and wave.status[baseline] != Status.OK and not partial:
        if not wave.request.fatal and not always:
            return None
        return _error(wave, batches, label, baseline, np.arange(len(wave.status)), others=0)
    return _error(wave, batches, label, int(failed[0]), failed, others=len(failed) - 1) if always else None


def out_of_range_error(answer: Answer, label: Callable[[int], str]) -> EvaluationError:
    """The error where all points have values, and yet a component has none."""
    k = int(answer.missing[0])
    first = label(k) if answer.axis == "coordinate" else f"direction {k}"
    text = f"the difference at {first} is too large for floating point; use a larger step"
    return EvaluationError(text, missing=answer.missing.tolist(), value=scalar(answer.value))


def give_warnings(texts: Iterable[str], told: set[str] | None = None, result: DerivativeResult | None = None) -> None:
    """Warn whoever called distfd, in their own line of code.

    Parameters
    ----------
    told : set of str, optional
        Of an optimisation: what it holds is not said again, whatever numbers stand at its end; what is said is added.
        Where warnings are errors they do not end the optimisation, whose result has them too.
    result : DerivativeResult, optional
        What is doubted.
    """
    if told is not None:
        new = {_NUMBERS.sub("", text): text for text in texts}
        texts = [text for key, text in new.items() if key not in told]
        told.update(new)
    for text in texts:
        warning = DerivativeWarning(text)
        warning.result = result
        try:
            warn(warning)
        except DerivativeWarning:
            if told is None:
                raise


_NUMBERS = re.compile(r" \([^()]*\)$")


def scalar(value: NDArray[np.float64]) -> Any:
    """A float where there is one number."""
    return float(value[0]) if len(value) == 1 else value


def _error(  # noqa: PLR0917  # private, called twice above
    wave: Wave,
    batches: Sequence[Batch],
    label: Callable[[int], str],
    k: int,
    lost: NDArray[np.int64],
    others: int,
) -> EvaluationError:
    failure, baseline = wave.failures[k], wave.request.baseline
    batch, r = next((b, int(np.flatnonzero(b.index == k)[0])) for b in batches if np.any(b.index == k))
    attempts = int(batch.attempt[r])
    text = failure_message(wave.request.points, k, failure, label, attempts=attempts, place=where(batch))
    if others:
        text += f"\n  {others} other {'point' if others == 1 else 'points'} failed too"
    known = baseline is not None and wave.status[baseline] == Status.OK
    error = EvaluationError(
        text,
        evaluation(wave.request, batch, r, label),
        missing=np.unique(wave.request.points.take(lost).indices).tolist(),
        value=scalar(wave.values[baseline].real) if known else None,
    )
    error.__cause__ = failure.exception
    return error
