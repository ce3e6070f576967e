"""How evaluations are treated: checked once, when made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.core.quantities import in_seconds
from distfd.core.records import Status
from distfd.core.suggestions import did_you_mean
from distfd.core.validation import is_number, is_whole
from distfd.differentiation.stencils import Stencil, resolve_scheme
from distfd.differentiation.steps import AbsoluteStep, NoiseStep, positive
from distfd.scheduling.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from distfd.workers.job_walltime import TimeLimit

CAUSES = {"error": Status.ERROR, "crash": Status.CRASH, "timeout": Status.TIMEOUT}
DEFAULT_RETRIES = {"error": 0, "crash": 2, "timeout": 0}
_SETUP = 30.0
"""Seconds that J has to be made ready in any case: to import a package may take longer than an evaluation."""
ON_FAILURE = ("raise", "nan", "repair")


@dataclass(frozen=True, eq=False)
class DerivativeOptions:
    """How a derivative is formed; see `distfd.differentiation.steps.nominal_steps` for step and scale."""

    scheme: str | Stencil = "forward"
    step: ArrayLike | AbsoluteStep | NoiseStep | str | None = None
    scale: ArrayLike | None = None
    bounds: Any = None
    names: Sequence[str] | None = None
    accuracy: float | None = None

    def __post_init__(self) -> None:
        resolve_scheme(self.scheme)
        if isinstance(self.bounds, Iterator):  # such as zip(lower, upper)
            object.__setattr__(self, "bounds", list(self.bounds))
        if self.names is not None:
            object.__setattr__(self, "names", _checked_names(self.names))
        if isinstance(self.step, str):
            if self.step != "auto":
                raise InputError(
                    f"step: must be 'auto', None, numbers > 0 or a step object (was {self.step!r})"
                    f"{did_you_mean(self.step, ('auto',))}"
                )
            object.__setattr__(self, "step", NoiseStep())
        if self.accuracy is not None:
            self._check_accuracy(positive("accuracy", self.accuracy))
        # How many there must be is known only with x.
        if self.step is not None and not isinstance(self.step, (AbsoluteStep, NoiseStep)):
            positive("step", self.step, gaps=True)
        if self.scale is not None:
            positive("scale", self.scale, gaps=True)

    def _check_accuracy(self, given: NDArray[np.float64]) -> None:
        if given.ndim:
            raise InputError(f"accuracy: must be one number (was {self.accuracy!r})")
        if self.stencil.name != "forward":
            raise InputError(f"accuracy: is only for the scheme forward (was {self.stencil.name})")
        if isinstance(self.step, NoiseStep) and self.step.method != "probe":
            raise InputError(
                f"accuracy: is only for NoiseStep('probe') and step='auto' (was NoiseStep({self.step.method!r}))"
            )

    @property
    def stencil(self) -> Stencil:
        """The scheme as a stencil."""
        return resolve_scheme(self.scheme)


def _checked_names(given: Any) -> tuple[str, ...]:
    # A set has no order, and a dict is more likely a mistake, such as names with values.
    listed = isinstance(given, Iterable) and not isinstance(given, (str, bytes, AbstractSet, Mapping))
    names = tuple(given) if listed else ()
    if not listed or not all(isinstance(name, str) for name in names):
        raise InputError(f"names: must be a list of strings (was {given!r})")
    if len(set(names)) != len(names):
        raise InputError(f"names: must differ (was {list(names)!r})")
    return names


@dataclass(frozen=True)
class EvaluationOptions:
    """Retries, timeouts, and what a failure means.

    Parameters
    ----------
    timeout : float or None
        Seconds from the start of J at one point. The serial executor cannot end a Python function that runs longer: a
        warning says so before the first evaluation, and a late value is refused. Nor does it survive a function that
        ends its process: what may hang or crash belongs on Ray.
    retries : int or mapping
        Further tries after the first: one number for all causes, or by cause ("error", "crash", "timeout"; those not
        named keep their default of 0, 2 and 0).
    on_failure : str
        "raise": a component without a value is an EvaluationError; "nan": it is NaN, and listed as missing; "repair":
        it is formed from other points, if J has values there (see `distfd.differentiation.failure_ladder`), and
        listed as repaired.
        Further tries of the same point come first, as ``retries`` says. For gradients and dense Jacobians; values
        alone are NaN then.
    setup_timeout : float or None
        Seconds that J's constructor and setup() may take in a process. None: as many as an evaluation, 30 at least; no
        limit where there is no timeout.
    """

    timeout: float | None = None
    retries: int | Mapping[str, int] | None = None
    on_failure: str = "raise"
    setup_timeout: float | None = None

    def __post_init__(self) -> None:
        for name, given in (("timeout", self.timeout), ("setup_timeout", self.setup_timeout)):
            if given is not None and not _is_duration(given):
                raise InputError(f"{name}: must be a number of seconds > 0, or None (was {given!r}){in_seconds(given)}")
        if self.on_failure not in ON_FAILURE:
            raise InputError(f"on_failure: must be one of {', '.join(ON_FAILURE)} (was {self.on_failure!r})")
        _tries(self.retries)

    def policy(self, *, limits_itself: bool, backups: bool = False, limit: TimeLimit | None = None) -> Policy:
        """What the scheduler is told."""
        tries = {CAUSES[cause]: n for cause, n in _tries(self.retries).items()}
        setup = self.setup_timeout
        if setup is None and self.timeout is not None:
            setup = max(self.timeout, _SETUP)
        return Policy(tries, self.timeout, limits_itself, backups, setup, limit, self.on_failure != "raise")


def _is_duration(seconds: Any) -> bool:
    return is_number(seconds) and 0 < seconds < math.inf


def _tries(retries: int | Mapping[str, int] | None) -> dict[str, int]:
    if isinstance(retries, Mapping):
        unknown = set(retries) - set(CAUSES)
        if unknown:
            raise InputError(f"retries: there is no cause {min(unknown, key=str)!r}; use {', '.join(CAUSES)}")
        tries = {**DEFAULT_RETRIES, **retries}
    else:
        tries = DEFAULT_RETRIES if retries is None else dict.fromkeys(CAUSES, retries)
    for cause, n in tries.items():
        if not is_whole(n) or n < 0:
            raise InputError(f"retries: must be whole numbers >= 0 ({cause} was {n!r})")
    return tries
