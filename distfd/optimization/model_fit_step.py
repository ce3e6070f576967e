"""Minimises the cost of a model of residuals in a trust region and inside bounds, without evaluations of J."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.optimization.robust_loss import Loss

    Floats = NDArray[np.float64]

_ITERATIONS = 60
_HALVINGS = 14
_SHORTER = 0.4
"""Factor by which a step that does not lower the cost is shortened."""
_BISECTIONS = 80
_FLAT = 1e-14
"""Curvatures below this part of the largest count as 0."""
_GRADED = 1e-9
"""Where the least of the diagonal's curvatures is below this part of the largest, it is lost among eigenvalues."""
_SMALL_STEP, _SMALL_GAIN = 1e-7, 1e-10
"""Relative changes of the step and of the cost below which the minimum is found."""
_OVER = 1.001
"""Factor by which a point may lie past the radius, for round-off."""


class ResidualModel(Protocol):
    """Changes of residuals, (m,), as a function of displacements z of x, (d,)."""

    def value(self, z: Floats) -> Floats:
        """Residuals minus those at the centre, (m,)."""

    def jacobian(self, z: Floats) -> Floats:
        """(m, d)."""

    def curvature(self, z: Floats, weights: Floats) -> Floats:
        """The sum of all residuals' second derivatives, weighted by ``weights`` (m,): (d, d)."""


def least_of_model(
    residuals: Floats,
    model: ResidualModel,
    radius: float,
    bounds: tuple[Floats, Floats],
    loss: Loss,
    *,
    priors: bool = False,
) -> tuple[Floats, float]:
    """The displacement of least cost that Newton's method finds from the centre, and the cost there.

    Newton's method uses the residuals' curvature (Dennis, Gay & Welsch, ACM TOMS 7(3), 1981), or leaves it out where it
    does not give descent. Variables that are at a bound and would leave it are held (Bertsekas 1982); others are
    projected.

    Parameters
    ----------
    residuals : (m,) ndarray
        Residuals at the centre.
    model : ResidualModel
    radius : float
    bounds : pair of (d,) ndarrays
        Bounds of the displacement; 0 is inside.
    loss : Loss
    priors : bool
        Whether some residuals are those of priors: a narrow one bends the cost along its variable far more than all
        else, and yet exactly as the model says.
    """
    lower, upper = bounds
    z, f = np.zeros(len(lower)), np.array(residuals)
    cost = loss.cost(f)
    for _ in range(_ITERATIONS):
        slopes = model.jacobian(z)
        first, second = loss.weights(f)
        gradient = slopes.T @ (first * f)
        free = ~(((z <= lower) & (gradient > 0)) | ((z >= upper) & (gradient < 0)))
        if not free.any() or not np.isfinite(gradient).all():
            break
        some = slopes[:, free]
        curved = model.curvature(z, first * f)[np.ix_(free, free)]
        found = None
        for hessian in (some.T @ (second[:, None] * some) + curved, some.T @ (np.maximum(second, 0)[:, None] * some)):
            if not np.isfinite(hessian).all():
                continue
            room = np.sqrt(max(radius**2 - float(z[~free] @ z[~free]), 0.0))
            step = _in_ball(hessian, gradient[free], z[free], room, graded=priors)
            for _ in range(_HALVINGS):
                at = z.copy()
                at[free] += step
                at = np.clip(at, lower, upper)
                there = residuals + model.value(at)
                lower_cost = loss.cost(there)
                if lower_cost < cost and np.linalg.norm(at) <= radius * _OVER:
                    found = at, there, lower_cost
                    break
                step = step * _SHORTER
            if found is not None:
                break
        if found is None:
            break
        moved, gained = float(np.linalg.norm(found[0] - z)), cost - found[2]
        z, f, cost = found
        if moved < _SMALL_STEP * float(np.linalg.norm(z)) or gained < _SMALL_GAIN * cost:
            break
    return z, cost


@np.errstate(over="ignore")  # the step of a Hessian that almost vanishes is shortened by the radius
def _in_ball(hessian: Floats, gradient: Floats, z: Floats, radius: float, *, graded: bool) -> Floats:
    """The s with |z + s| <= radius of the least quadratic: More & Sorensen (SIAM J. Sci. Stat. Comput. 4, 1983).

    The multiplier is found by bisection in the Hessian's eigenvectors. If it is ``graded``, and their eigenvalues would
    be lost in the round-off of the largest, the step is Newton's, cut off at the radius. (Without priors, steps along
    curvatures that are lost so are no loss: measured, they lengthen fits.)
    """
    step_of_graded = _cut_newton_step(hessian, gradient, z, radius) if graded else None
    if step_of_graded is not None:
        return step_of_graded
    values, vectors = np.linalg.eigh(hessian)
    a, b = vectors.T @ gradient, vectors.T @ z
    top = max(abs(float(values[0])), abs(float(values[-1])), 1e-300)

    def step(multiplier: float) -> Floats:
        return np.asarray(-(a + multiplier * b) / np.maximum(values + multiplier, _FLAT * top))

    least = max(0.0, -float(values[0])) + _FLAT * top
    found = step(least if values[0] <= 0 else 0.0)
    if np.linalg.norm(b + found) > radius:
        low = least * 0.999999 + 1e-300
        high = least + 10 * (top + float(np.linalg.norm(gradient)) / max(radius, 1e-300))
        for _ in range(_BISECTIONS):
            middle = np.sqrt(low * high)
            if np.linalg.norm(b + step(middle)) > radius:
                low = middle
            else:
                high = middle
        found = step(high)
    return np.asarray(vectors @ found)


def _cut_newton_step(hessian: Floats, gradient: Floats, z: Floats, radius: float) -> Floats | None:
    """Newton's step as far as the radius, by a Cholesky factor in units of the diagonal; None for a usual Hessian."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    diagonal = np.diag(hessian)
    if not 0 < diagonal.min() < _GRADED * diagonal.max():
        return None
    size = np.sqrt(diagonal)
    try:
        factor = cho_factor(hessian / np.outer(size, size), check_finite=False)
    except LinAlgError:
        return None
    step = -cho_solve(factor, gradient / size, check_finite=False) / size
    # |z + t step| = radius for the t >= 0 of this quadratic.
    a, b, c = float(step @ step), float(z @ step), float(z @ z) - radius**2
    if a == 0 or not np.isfinite(a):
        return None
    t = (-b + float(np.sqrt(max(b * b - a * c, 0.0)))) / a
    return np.asarray(step * min(1.0, t))
