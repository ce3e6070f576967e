"""Likelihood profiles and intervals of a fit's parameters; the refits of all parameters share the waves."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean
from distfd.core.validation import is_number, is_whole
from distfd.differentiation.batched_methods import BatchedMethods
from distfd.evaluation.outcome import give_warnings
from distfd.evaluation.tally import gather
from distfd.optimization.limits import Limits
from distfd.optimization.profile_chain import Chain, Fitted, Known, Problem
from distfd.optimization.weighting import Weighting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from distfd.differentiation.method import Answer
    from distfd.evaluation.evaluator import Evaluator
    from distfd.optimization.fit_statistics import FitStatistics
    from distfd.optimization.profile_chain import End
    from distfd.optimization.robust_loss import Loss

    Floats = NDArray[np.float64]


_FALLS = 1e-3
"""If zeta falls outward by more than this, the fall is real: refits that end a little early make smaller ones."""


@dataclass(frozen=True, eq=False)
class Refits:
    """The means to evaluate a fit's residuals at other parameters, kept for its profiles.

    Parameters
    ----------
    session : callable
        Returns the Evaluator of the residuals, as a context manager.
    loss : Loss
    lower, upper : (d,) ndarrays
    weighting : Weighting
    kept : (m,) ndarray of bool, or None
        Which of J's outputs are residuals of the fit.
    sparsity
        Sparsity of the Jacobian.
    """

    session: Callable[[], AbstractContextManager[Evaluator]]
    loss: Loss
    lower: Floats
    upper: Floats
    weighting: Weighting = field(default_factory=Weighting)
    kept: NDArray[np.bool_] | None = None
    sparsity: Any = None


@dataclass(frozen=True, eq=False)
class LikelihoodProfile:
    """The cost as a function of one parameter, with the others refitted at each value (Bates & Watts 1988, 6.1).

    Attributes
    ----------
    name : str
    index : int
        The parameter's number.
    level : float
        Level of the interval, such as 0.95.
    critical : float
        Absolute value of ``zeta`` at the interval's ends: Student's t with m - d degrees of freedom, or the quantile of
        the normal distribution where sigma is known.
    interval : (2,) ndarray
        The likelihood interval, where abs(zeta) <= critical. An end is infinite if it was not found within reach, and
        NaN if J failed on the way.
    ends : pair of str
        How the search for the lower and the upper end finished: "level": found; "bound": a bound cuts the interval;
        "open": not found within reach; "failed": J has no value there; "not converged": refits did not converge;
        "better fit": see ``best``; "limit": ``limits`` stopped the search.
    values : (n,) ndarray
        Values of the parameter, ascending, with the estimate among them.
    costs : (n,) ndarray
    zeta : (n,) ndarray
        sign(value - estimate) sqrt(2 (cost - cost of the estimate)) / s; a straight line for a linear model.
    x : (n, d) ndarray
        All parameters at these values.
    converged : (n,) ndarray of bool
        Whether the refit there converged.
    estimate : float
    standard_error : float
        First-order standard error. It allows bounds to hold the other parameters, but not this one.
    n_evaluations, n_reused : int
        Counts of the call, for all its profiles together.
    n_waves : int
        Count of the call: how often evaluations went out together.
    stopped : str
        The limit that was reached, in words; empty if none was.
    """

    name: str
    index: int
    level: float
    critical: float
    interval: Floats
    ends: tuple[End, End]
    values: Floats
    costs: Floats
    zeta: Floats
    x: Floats
    converged: NDArray[np.bool_]
    estimate: float
    standard_error: float
    n_evaluations: int = 0
    n_reused: int = 0
    n_waves: int = 0
    stopped: str = ""

    @property
    def best(self) -> Floats:
        """The parameters, (d,), of the least cost that was seen; the estimate if no cost is less."""
        return np.array(self.x[int(np.argmin(self.costs))])

    @property
    def ends_at_better_fit(self) -> bool:
        """Whether a refit reached a cost below the estimate's, so that the estimate is not the best fit."""
        return "better fit" in self.ends

    @property
    def is_doubtful(self) -> bool:
        """Whether an end is unknown because values or converged refits are missing, or there is a better fit."""
        return not self.converged.all() or any(
            end in ("failed", "not converged", "better fit", "limit") for end in self.ends
        )

    @property
    def notes(self) -> list[str]:
        """Sentences on the interval where an end is not at the level; empty where both are."""
        notes = []
        for which, end, at in zip(("lower", "upper"), self.ends, (self.values[0], self.values[-1]), strict=True):
            if end == "bound":
                notes.append(f"the interval is cut off at the {which} bound of {self.name}, {at:.6g}")
            elif end == "open":
                notes.append(
                    f"the {which} end was not found: at {self.name} = {at:.6g}, the furthest value, the data still "
                    f"allow it at the level {self.level:g}"
                )
            elif end == "failed":
                notes.append(f"the {which} end is not known: J fails beyond {self.name} = {at:.6g}")
            elif end == "not converged":
                notes.append(f"the {which} end is not known: refits near {self.name} = {at:.6g} did not converge")
            elif end == "limit":
                notes.append(
                    f"the {which} end is not known: {self.stopped} at {self.name} = {at:.6g}, the furthest value that "
                    "was refitted"
                )
            elif end == "better fit":
                notes.append(
                    f"there is a better fit than the estimate near {self.name} = {self.best[self.index]:.6g}: fit "
                    "again from best of this profile"
                )
        values, zeta = self.values[self.converged], self.zeta[self.converged]
        falls = np.flatnonzero(np.diff(zeta) < -_FALLS)
        if len(falls) and not self.ends_at_better_fit:
            low, high = values[falls[0]], values[falls[-1] + 1]
            notes.append(
                f"the cost falls again outward between {self.name} = {low:.6g} and {high:.6g}: there is another "
                "minimum, and values that the level excludes may lie inside the interval"
            )
        lost = int((~self.converged).sum())
        if lost:
            notes.append(
                f"{lost} of {len(self.values)} refits did not converge, and costs there are upper limits: if the "
                "residuals have noise, fit again with scheme='central' and a larger step, such as step=1e-3"
            )
        return notes

    def table(self) -> dict[str, Any]:
        """The profile as columns of equal length: the parameter's values under its name, cost, and zeta."""
        return {self.name: self.values.copy(), "cost": self.costs.copy(), "zeta": self.zeta.copy()}

    def __repr__(self) -> str:
        low, high = self.interval
        lines = [
            f"{self.name}: {self.estimate:.8g}, {100 * self.level:g} % likelihood interval [{low:.6g}, {high:.6g}]",
            "",
            f"{self.name:>14}  {'cost':>14}  {'zeta':>9}",
        ]
        rows = zip(self.values, self.costs, self.zeta, strict=True)
        lines += [f"{value:14.8g}  {cost:14.8g}  {zeta:9.4f}" for value, cost, zeta in rows]
        effort = f"{self.n_evaluations} evaluations in {self.n_waves} waves, {self.n_reused} reused"
        return "\n".join([*lines, "", *self.notes, effort])


def profile_parameters(  # noqa: PLR0917  # called once
    refits: Refits,
    start: Known,
    statistics: FitStatistics,
    names: Sequence[str],
    at: Sequence[int],
    level: float,
    points: int,
    reach: float,
    limits: Limits | None = None,
) -> list[LikelihoodProfile]:
    """Profiles of some parameters; each wave holds the next point of every side of every parameter.

    Parameters
    ----------
    refits : Refits
    start : Known
        The estimate.
    statistics : FitStatistics
        Statistics of the fit.
    names : sequence of str
        Names of all d parameters.
    at : sequence of int
        Numbers of the wanted parameters.
    level, points, reach, limits
        As for `distfd.optimization.fit_result.FitResult.profile`.

    Raises
    ------
    InputError
        If the data do not determine a range for a parameter.
    """
    problem = Problem(refits.loss, refits.lower, refits.upper)
    drafts = [_Draft.of(problem, start, statistics, names, k, level, points, reach) for k in at]
    chains = [chain for draft in drafts for chain in draft.chains]
    effort, limits, began = _Effort(), limits or Limits(), time.monotonic()
    with refits.session() as session:
        while wanted := [(chain, x) for chain in chains if (x := chain.ask()) is not None]:
            for (chain, _), known in zip(
                wanted, _evaluated(session, refits, [x for _, x in wanted], effort), strict=True
            ):
                chain.tell(known)
            effort.stopped = limits.used_up(effort.n_evaluations + effort.n_reused, time.monotonic() - began)
            for chain in chains if effort.stopped else ():
                chain.stop()
    made = [draft.made(effort) for draft in drafts]
    wrong = [f"profile of {each.name}: {note}" for each in made if each.is_doubtful for note in each.notes]
    give_warnings(wrong, set())
    return made


@dataclass(eq=False)
class _Effort:
    """The cost of a call in evaluations and waves."""

    n_evaluations: int = 0
    n_reused: int = 0
    n_waves: int = 0
    stopped: str = ""


def _evaluated(session: Evaluator, refits: Refits, xs: Sequence[Floats], effort: _Effort) -> list[Known | None]:
    """Residuals and Jacobians at several points, in one wave; None where J fails."""
    particulars = {} if refits.sparsity is None else {"sparsity": refits.sparsity}
    plans = [session.method(x, "jacobian", **particulars) for x in xs]
    # With warm starts, all points of a wave must start from the state of the same x.
    groups = [plans] if session.warm is None else [[plan] for plan in plans]
    answers: list[Answer | None] = []
    for group in groups:
        together = BatchedMethods(group, partial=refits.kept is not None)
        _, tally = session.solve(together, "profile", raises=False)
        effort.n_evaluations += tally.n_evaluations
        effort.n_reused += tally.n_reused
        effort.n_waves += len(tally.waves)
        answers += together.answers([gather(request, batches) for request, batches in tally.waves])
    return [_known(refits, x, answer) for x, answer in zip(xs, answers, strict=True)]


def _known(refits: Refits, x: Floats, answer: Answer | None) -> Known | None:
    """The fit's residuals and their Jacobian from an answer; None where a residual has no value."""
    if answer is None:
        return None
    outputs, jacobian, kept = np.atleast_1d(answer.value), answer.derivative, refits.kept
    table = jacobian if isinstance(jacobian, np.ndarray) else jacobian.toarray()
    if kept is not None:
        if len(kept) != len(outputs):
            return None
        outputs, table = outputs[kept], table[kept]
    residuals = refits.weighting.values(np.asarray(outputs, dtype=np.float64), kept, x)
    known = Known(x, residuals, np.asarray(refits.weighting.matrix(table, kept)))
    return known if np.isfinite(residuals).all() and np.isfinite(known.jacobian).all() else None


@dataclass(frozen=True, eq=False)
class _Draft:
    """A profile while it is computed: its two sides, as chains."""

    start: Known
    name: str
    k: int
    level: float
    critical: float
    error: float
    chains: tuple[Chain, Chain]

    @classmethod
    def of(  # noqa: PLR0917  # called once
        cls,
        problem: Problem,
        start: Known,
        statistics: FitStatistics,
        names: Sequence[str],
        k: int,
        level: float,
        points: int,
        reach: float,
    ) -> _Draft:
        name = names[k]
        if problem.lower[k] == problem.upper[k]:
            raise InputError(f"profile: {name} is fixed at {problem.lower[k]:g}, so there is nothing to profile")
        if statistics.active is not None and statistics.active[k]:
            active = statistics.active.copy()
            active[k] = False
            statistics = _with_active(statistics, active)
        spread, error = float(np.sqrt(statistics.variance)), float(statistics.standard_errors[k])
        if not np.isfinite(spread):
            raise InputError(
                "profile: there are no more residuals than parameters, so nothing tells their standard deviation; give "
                "sigma to the fit, or absolute_sigma=True if residuals are in units of it"
            )
        if spread == 0:
            raise InputError(
                "profile: all residuals are 0, so every other value is excluded; give sigma to the fit, or "
                "absolute_sigma=True if residuals are in units of it"
            )
        if not np.isfinite(error) or error == 0:
            group = next((g for g in statistics.not_told_apart if k in g), [k])
            others = ", ".join(names[j] for j in group if j != k)
            why = f"do not tell it apart from {others}" if others else "do not depend on it"
            raise InputError(
                f"profile: {name} has no likelihood interval, as the residuals {why} at the estimate; fix a parameter, "
                "or give a prior"
            )
        critical = _critical(statistics, level)
        first, second = (Chain(problem, start, k, side, spread, critical, points, reach * error) for side in (-1, 1))
        return cls(start, name, k, level, critical, error, (first, second))

    def made(self, effort: _Effort) -> LikelihoodProfile:
        """The profile from the results of the chains."""
        low, high = self.chains
        base = Fitted(self.start.x, low.problem.cost(self.start), 0.0)
        signed = (
            [(-low.zeta(f.cost), f) for f in low.found] + [(0.0, base)] + [(high.zeta(f.cost), f) for f in high.found]
        )
        signed.sort(key=lambda pair: float(pair[1].x[self.k]))
        points = [f for _, f in signed]
        x = np.array([f.x for f in points])
        assert low.end is not None, "it was followed to its end"
        assert high.end is not None, "it was followed to its end"
        return LikelihoodProfile(
            name=self.name,
            index=self.k,
            level=self.level,
            critical=self.critical,
            interval=np.array([low.interval_end, high.interval_end]),
            ends=(low.end, high.end),
            values=x[:, self.k].copy(),
            costs=np.array([f.cost for f in points]),
            zeta=np.array([zeta for zeta, _ in signed]),
            x=x,
            converged=np.array([f.converged for f in points]),
            estimate=float(self.start.x[self.k]),
            standard_error=self.error,
            n_evaluations=effort.n_evaluations,
            n_reused=effort.n_reused,
            n_waves=effort.n_waves,
            stopped=effort.stopped,
        )


def _with_active(statistics: FitStatistics, active: NDArray[np.bool_]) -> FitStatistics:
    from dataclasses import replace

    return replace(statistics, active=active)


def _critical(statistics: FitStatistics, level: float) -> float:
    """Size of zeta at the ends: the root of F with 1 and m - d degrees of freedom (Student's t), or normal."""
    from scipy.stats import norm, t

    law: Any = norm if statistics.absolute_sigma else t(statistics.degrees_of_freedom)
    return float(law.ppf((1 + level) / 2))


def check_profile(level: Any, points: Any, reach: Any, limits: Any = None) -> None:
    """Checks the arguments of `FitResult.profile`.

    Raises
    ------
    InputError
        If an argument makes no sense.
    """
    if not (is_number(level) and 0 < level < 1 and 0.5 < (1 + level) / 2 < 1):
        raise InputError(f"level: must be between 0 and 1, such as 0.95 (was {level!r})")
    if not (is_whole(points) and points >= 1):
        raise InputError(f"points: must be a whole number >= 1 (was {points!r})")
    if not (is_number(reach) and 0 < reach < np.inf):
        raise InputError(f"reach: must be a number > 0, of standard errors (was {reach!r})")
    if limits is not None and not isinstance(limits, Limits):
        raise InputError(f"limits: must be a distfd.Limits (was {limits!r})")
    others = [name for name in ("max_iterations", "target", "tolerance") if getattr(limits, name, None) is not None]
    if others:
        raise InputError(f"limits: a profile takes max_evaluations and max_wall_time, not {' or '.join(others)}")


def parameter_number(given: Any, names: Sequence[str]) -> int:
    """The number of a parameter given by name or number; negative numbers count from the end.

    Raises
    ------
    InputError
        If there is no such parameter.
    """
    if isinstance(given, str):
        if given not in names:
            raise InputError(f"profile: there is no parameter {given!r}{did_you_mean(given, list(names))}")
        return list(names).index(given)
    if not is_whole(given) or not -len(names) <= given < len(names):
        raise InputError(f"profile: a parameter is a name, or a number below {len(names)} (was {given!r})")
    return int(given) % len(names)
