"""Messages for a keyword that a function does not have, with the keyword to use instead."""

from __future__ import annotations

import functools
import inspect
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from distfd.core.errors import DistfdError
from distfd.core.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_EXECUTOR = (
    'give executor="serial" for none beside this process, or executor=distfd.RayExecutor(num_cpus=4) for so many'
)
_STEP = "give step: a number is relative to |x|, distfd.AbsoluteStep(h) is not"
_SCHEME = 'give scheme: "forward", "central", "complex-step" and others'
_WATCH = "give observers: [distfd.Progress()] prints how far things are, your own callables are given each event"
_STORE = 'give store="values.sqlite": values are kept in that file, and the same call goes on from there'
_LIMITS = (
    "give limits=distfd.Limits(max_iterations=..., max_evaluations=..., max_wall_time=..., tolerance=..., target=...)"
)
_FIXED = "give bounds: lower == upper holds a coordinate fast"
_MAXIMISE = "to maximise J, minimise -J"
_METHOD = "give method"
_WHOLE = "distfd.differentiate returns the derivative with all that is known"
_OF_RUN = "the result has all that is known of the run"
_SIGMA = "give sigma: the standard deviations of the data"
_SIGMA_X = "give sigma_x: the standard deviations of x, or a covariance"
_ONLY_WITH = {_LIMITS: "limits", _MAXIMISE: "limits", _METHOD: "method", _SIGMA: "sigma", _SIGMA_X: "sigma_x"}
"""Answers that make sense only for functions with this keyword."""
_NAMES = (
    (("max_iterations",), frozenset({"maxiter", "max_iter", "n_iter", "niter", "iterations"})),
    (("max_evaluations",), frozenset({"maxfev", "maxfun", "max_nfev", "max_eval", "max_evals", "maxeval"})),
    (("max_wall_time",), frozenset({"timeout", "time_limit", "max_time", "maxtime", "wall_time"})),
    (("tolerance",), frozenset({"tol", "ftol", "xtol", "gtol"})),
    (
        ("fun", "residuals", "f"),
        frozenset({"fun", "f", "func", "function", "objective", "criterion", "cost", "residual", "J"}),
    ),
    (
        ("x0", "x", "p0"),
        frozenset({"x0", "x", "x_0", "p0", "params", "start_params", "start", "initial", "guess", "point"}),
    ),
)
"""Names of arguments, by function the first that it has, and what they are called elsewhere."""
_INSTEAD: dict[str, str] = {
    **dict.fromkeys(
        (
            *("n_cores", "n_jobs", "n_workers", "num_workers", "workers", "processes", "n_procs", "nproc", "n_cpus"),
            *("cores", "ncores", "num_cores", "ncpus", "cpus", "processors"),
            *("num_cpus", "parallel", "threads", "n_threads", "max_workers", "pool", "backend", "client", "slots"),
            *("batch_evaluator", "batch_size", "UseParallel"),
        ),
        _EXECUTOR,
    ),
    **dict.fromkeys(
        (
            *("rel_step", "relative_step", "eps", "epsilon", "h", "dx", "delta", "step_size", "stepsize"),
            *("finite_diff_rel_step", "diff_step", "epsfcn", "base_steps", "step_ratio"),
        ),
        _STEP,
    ),
    **dict.fromkeys(("abs_step", "absolute_step", "min_steps"), "give step=distfd.AbsoluteStep(h)"),
    **dict.fromkeys(
        ("method", "order", "differentiation", "diff_method", "jac", "fd_scheme", "numdiff_options"), _SCHEME
    ),
    **dict.fromkeys(("verbose", "disp", "progress", "callback", "logger", "log"), _WATCH),
    **dict.fromkeys(("cache", "checkpoint", "memo", "database", "db", "resume"), _STORE),
    **dict.fromkeys(("maxiter", "max_iter", "maxfev", "maxfun", "max_evaluations", "max_iterations"), _LIMITS),
    **dict.fromkeys(("target", "tolerance", "tol", "max_wall_time"), _LIMITS),
    **dict.fromkeys(
        ("lower", "upper", "lb", "ub", "low", "high", "lower_bounds", "upper_bounds"),
        "give bounds: scipy.optimize.Bounds(lower, upper)",
    ),
    **dict.fromkeys(("fixed", "fix", "vary", "free"), _FIXED),
    **dict.fromkeys(("maximize", "maximise", "direction", "sense", "sign"), _MAXIMISE),
    **dict.fromkeys(("weights", "weight", "dy", "yerr", "data_err"), _SIGMA),
    **dict.fromkeys(("algorithm", "algo", "solver", "optimizer"), _METHOD),
    **dict.fromkeys(("cov", "covariance", "sigma", "sigmas", "std", "stderr", "uncertainty"), _SIGMA_X),
    **dict.fromkeys(("retry", "n_retries", "max_retries"), "give retries"),
    **dict.fromkeys(("time_limit", "max_time", "time_out"), "give timeout: seconds for one evaluation"),
    **dict.fromkeys(("error", "errors", "on_error", "raise_on_error"), 'give on_failure: "raise", "nan" or "repair"'),
    **dict.fromkeys(("param_names", "parameters", "labels"), "give names"),
    **dict.fromkeys(("full_output", "return_info"), _WHOLE),
    **dict.fromkeys(
        ("f0", "fx", "fun0"), 'an Evaluator keeps J(x) between its calls; with store="values.sqlite" all do'
    ),
    "sparsity": "jacobian and hessian take it",
    **dict.fromkeys(
        ("argnums", "argnum", "wrt"),
        "derivatives are those by x0; give what J takes beside it as args=(...), or x0 as a dict of several arrays",
    ),
    **dict.fromkeys(("has_aux", "holomorphic", "allow_int"), "J returns numbers alone"),
    **dict.fromkeys(("jac_sparsity", "sparsity_pattern"), "give sparsity, to jacobian, hessian or least_squares"),
    **dict.fromkeys(("seed", "rng", "random_state"), "nothing here is random"),
    **dict.fromkeys(("address", "ray_address"), 'give executor=distfd.RayExecutor(address="...")'),
}
"""What to use instead of keywords that other packages have."""


def unknown_keyword(function: str, word: str, known: Iterable[str]) -> str:
    """The message of a TypeError for an unknown keyword.

    Parameters
    ----------
    function : str
        The name of the function that the user called.
    word : str
        The unknown keyword.
    known : iterable of str
        The keywords that the function has.
    """
    begin, known = f"{function}() has no keyword {word!r}", sorted(known)
    for names, words in _NAMES:
        name = next((one for one in names if one in known), None)
        if word in words and name is not None:
            return f"{begin}; give {name}"
    if word in _INSTEAD and _ONLY_WITH.get(_INSTEAD[word], known[0]) in known:
        first = "give verbose=1 or 2; or " if _INSTEAD[word] is _WATCH and "verbose" in known else ""
        instead = _OF_RUN if _INSTEAD[word] is _WHOLE and "limits" in known else _INSTEAD[word]
        return f"{begin}; {first}{instead}"
    return begin + (did_you_mean(word, known) or f"; it has {', '.join(known)}")


def _lacks(name: str, missing: list[str], given: tuple[Any, ...]) -> str:
    """The message of a TypeError for arguments that were not given."""
    hint = ""
    if missing == ["x0"] and len(given) == 1 and callable(given[0]):
        hint = f"; distfd.{name}(fun, x0) is the result at x0, and no function that computes it"
    return f"{name}() needs {' and '.join(one for one in missing if one != 'self')} too{hint}"


def without_own_frames(error: DistfdError) -> DistfdError:
    """The error with the user's lines alone in its traceback: its message says what ours would.

    All lines stay where Python runs in development mode (``python -X dev``).
    """
    if sys.flags.dev_mode:
        return error
    entries, entry = [], error.__traceback__
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    kept: TracebackType | None = None
    for one in reversed(entries):
        if str(one.tb_frame.f_globals.get("__name__")).partition(".")[0] not in _OURS:
            kept = TracebackType(kept, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return error.with_traceback(kept)


_OURS = ("distfd", "contextlib")
"""Packages whose frames say nothing to the user."""


def answers_misuse(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate what is called by this name: a keyword that it does not have is told with what to give in its place."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return answering(function, name, inspect.signature(function))

    return decorate


def answers_misuse_of_fields(cls: type[T]) -> type[T]:
    """Decorate a dataclass: as `answers_misuse`, for its constructor."""
    cls.__init__ = answers_misuse(cls.__name__)(cls.__init__)  # type: ignore[method-assign]  # of a class, not of an object
    return cls


def _example(known: set[str]) -> str:
    examples = ("args=(...)", 'method="..."', 'scheme="central"', "num_cpus=4", "num_threads=1", "max_iterations=100")
    found = " or ".join([one for one in examples if one.partition("=")[0] in known][:2])
    return f", such as {found}" if found else ""


def answering(
    function: Callable[P, R],
    name: str,
    signature: inspect.Signature,
    answers: Container[str] = (),
    *,
    before: Container[str] = (),
) -> Callable[P, R]:
    """The function with this name and signature, which answers arguments that it does not have.

    Parameters
    ----------
    function : callable
    name : str
        What the user calls it.
    signature : inspect.Signature
        If it has ``**keywords``, the function answers unknown ones itself.
    answers : container of str
        Keywords that are not in the signature, and that the function answers itself.
    before : container of str
        For a method, the keywords that are given where its object is made.
    """
    given = [one for one in signature.parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
    needed = [one.name for one in given if one.default is one.empty]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    known = {p.name for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD and p.name != "self"}
    places = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    told = " and ".join(one for one in places if one != "self")

    @functools.wraps(function)
    def answering(*args: P.args, **kwargs: P.kwargs) -> R:
        for word in kwargs:
            if not takes_any and word not in known and word not in answers:
                if word in before:
                    owner = name.partition(".")[0]
                    raise TypeError(f"{name}() has no keyword {word!r}; give it where you make the {owner}")
                raise TypeError(unknown_keyword(name, word, known))
        if len(args) > len(places):
            takes = f"{told} by position alone; give the others by name" if told else "all arguments by name"
            raise TypeError(f"{name}() takes {takes}{_example(known)} (got {args[len(places)]!r})")
        missing = [one for one in needed[len(args) :] if one not in kwargs]
        if missing:
            raise TypeError(_lacks(name, missing, args))
        try:
            return function(*args, **kwargs)
        except DistfdError as error:
            raise without_own_frames(error)  # noqa: B904  # it is the same error

    if signature != inspect.signature(function):
        # Not for methods: a copy of it, as functools.update_wrapper makes of a bound one, would have ``self`` in it.
        answering.__signature__ = signature  # type: ignore[attr-defined]  # inspect looks for it there
    return answering
