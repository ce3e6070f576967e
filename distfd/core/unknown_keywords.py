"""Messages for a keyword that a function does not have, with the keyword to use instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distfd.core.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

_EXECUTOR = (
    'give executor="serial" for none beside this process, or executor=distfd.RayExecutor(num_cpus=4) for so many'
)
_STEP = "give step: a number is relative to |x|, distfd.AbsoluteStep(h) is not"
_SCHEME = 'give scheme: "forward", "central", "complex-step" and others'
_WATCH = "give observers: [distfd.Progress()] prints how far things are, your own callables are given each event"
_STORE = 'give store="values.sqlite": values are kept in that file, and the same call goes on from there'
_LIMITS = "give limits=distfd.Limits(max_iterations=..., max_evaluations=..., max_wall_time=...)"
_INSTEAD: dict[str, str] = {
    **dict.fromkeys(
        (
            *("n_cores", "n_jobs", "n_workers", "num_workers", "workers", "processes", "n_procs", "nproc", "n_cpus"),
            *("cores", "ncores", "num_cores", "ncpus", "cpus", "processors"),
            *("num_cpus", "parallel", "threads", "n_threads", "max_workers", "pool", "backend", "client", "slots"),
        ),
        _EXECUTOR,
    ),
    **dict.fromkeys(
        (
            *("rel_step", "relative_step", "eps", "epsilon", "h", "dx", "delta", "step_size", "stepsize"),
            "finite_diff_rel_step",
        ),
        _STEP,
    ),
    **dict.fromkeys(("abs_step", "absolute_step", "step_ratio"), "give step=distfd.AbsoluteStep(h)"),
    **dict.fromkeys(("method", "order", "differentiation", "diff_method", "jac", "fd_scheme"), _SCHEME),
    **dict.fromkeys(("verbose", "disp", "progress", "callback", "logger", "log"), _WATCH),
    **dict.fromkeys(("cache", "checkpoint", "memo", "database", "db", "resume"), _STORE),
    **dict.fromkeys(("maxiter", "max_iter", "maxfev", "maxfun", "max_evaluations", "max_iterations"), _LIMITS),
    **dict.fromkeys(("lower", "upper", "lb", "ub", "low", "high"), "give bounds: scipy.optimize.Bounds(lower, upper)"),
    **dict.fromkeys(("retry", "n_retries", "max_retries"), "give retries"),
    **dict.fromkeys(("time_limit", "max_time", "time_out"), "give timeout: seconds for one evaluation"),
    **dict.fromkeys(("error", "errors", "on_error", "raise_on_error"), 'give on_failure: "raise", "nan" or "repair"'),
    **dict.fromkeys(("param_names", "parameters", "labels"), "give names"),
    **dict.fromkeys(
        ("full_output", "return_info"), "distfd.differentiate returns the derivative with all that is known"
    ),
    **dict.fromkeys(
        ("f0", "fx", "fun0"), 'an Evaluator keeps J(x) between its calls; with store="values.sqlite" all do'
    ),
    "sparsity": "jacobian and hessian take it",
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
    if word in _INSTEAD:
        first = "give verbose=1 or 2; or " if _INSTEAD[word] is _WATCH and "verbose" in known else ""
        return f"{begin}; {first}{_INSTEAD[word]}"
    return begin + (did_you_mean(word, known) or f"; it has {', '.join(known)}")
