"""Why a method of SciPy ended, in plain English."""

from __future__ import annotations

_PLAIN = {
    "NORM OF PROJECTED GRADIENT <= PGTOL": "the gradient is smaller than gtol",
    "RELATIVE REDUCTION OF F <= FACTR*EPSMCH": "J fell by less than ftol in the last iteration",
    "CPU EXCEEDING THE TIME LIMIT": "the time limit is reached",
    "TOTAL NO. OF F,G EVALUATIONS EXCEEDS LIMIT": "maxfun is reached: no more values of J are allowed",
    "TOTAL NO. OF ITERATIONS REACHED LIMIT": "maxiter is reached: no more iterations are allowed",
    "PROJECTED GRADIENT IS SUFFICIENTLY SMALL": "the gradient is small enough",
    "CALLBACK REQUESTED HALT": "the callback stopped it",
    "ROUNDING ERRORS PREVENT PROGRESS": "the line search found no lower J: rounding or noise hides the slope",
    "XTOL TEST SATISFIED": "the line search moved x by less than xtol",
    "NO FEASIBLE SOLUTION": "no point keeps the bounds",
    "ABNORMAL": "the line search found no lower J: J may be noisy, or its gradient inaccurate",
    "Optimization terminated successfully": "the method's test of convergence is met",
    "Maximum number of function evaluations has been exceeded": "no more values of J are allowed",
    "Maximum number of iterations has been exceeded": "maxiter is reached: no more iterations are allowed",
    "Desired error not necessarily achieved due to precision loss": (
        "the line search found no lower J: J may be noisy, or its gradient inaccurate"
    ),
    "NaN result encountered": "J or its gradient is not a number",
    "Local minimum reached (|pg| ~= 0)": "the gradient is close to 0",
    "Converged (|f_n-f_(n-1)| ~= 0)": "J fell by less than ftol in the last iteration",
    "Converged (|x_n-x_(n-1)| ~= 0)": "x moved by less than xtol in the last iteration",
    "Max. number of function evaluations reached": "no more values of J are allowed",
    "Linear search failed": "the line search found no lower J: J may be noisy, or its gradient inaccurate",
    "Unable to progress": "the method found no lower J",
    "User requested end of minimization": "the callback stopped it",
    "Positive directional derivative for linesearch": (
        "the line search found no way down: J may be noisy, or its gradient inaccurate"
    ),
    "Iteration limit reached": "maxiter is reached: no more iterations are allowed",
    "Inequality constraints incompatible": "no point keeps all inequality constraints",
    "The maximum number of function evaluations is exceeded": "no more evaluations of J are allowed",
    "`gtol` termination condition is satisfied": "the gradient is smaller than gtol",
    "`ftol` termination condition is satisfied": "the cost fell by less than ftol in the last iteration",
    "`xtol` termination condition is satisfied": "x moved by less than xtol in the last iteration",
    "Both `ftol` and `xtol` termination conditions are satisfied": "the cost and x changed by less than ftol and xtol",
    "`callback` raised `StopIteration`": "the callback stopped it",
    "Constraint violation exceeds 'gtol'": "the constraints are kept less well than gtol asks for",
}
"""SciPy's texts (1.17), without the words before a colon and the full stop, and their meaning."""


def plain_ending(text: str) -> str:
    """SciPy's reason for the end of a method, in plain English; an unknown text is returned unchanged."""
    head, _, tail = text.partition(": ")
    bare = (tail if head.isupper() and tail else text).strip().rstrip(".:").strip()
    return _PLAIN.get(bare, text)
