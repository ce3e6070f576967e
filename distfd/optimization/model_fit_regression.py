"""A model of residuals around a point: a regression on values and slopes at all points nearby.

Each residual is modelled as a Gaussian process with the kernel q + q^2 / 2 + q^3 / 6, where q = z . z' / l^2 and z is
the displacement in typical sizes. The mean of the process is the cubic polynomial of least norm through the
observations, values and slopes alike. POUNDERS does the same with quadratics (Wild 2017, "Solving derivative-free
nonlinear least squares problems with POUNDERS"), and tensor methods with few slopes (Schnabel & Frank, SIAM J. Numer.
Anal. 21(5), 1984). One Cholesky factor serves all residuals. The length l and the ratio of noise to signal are those of
greatest likelihood on a small grid (Rasmussen & Williams 2006, section 5.4.1). The signal's variance is its
maximum-likelihood value for each residual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Candidates for the length l, in medians of the observations' distances."""
_JITTER = 1e-13
"""Added to a diagonal of 1, so that points that almost coincide do not make the matrix singular."""
_OUTPUTS = 64
"""Largest number of residuals for the likelihood, evenly spread: more of them do not improve the choice."""
_TINY = 1e-300
_AGREE = 1e-3
"""Largest relative difference between slopes over two lengths that are about the same."""


@dataclass(frozen=True, eq=False)
class Observed:
    """The observations around the centre: first n values, then p slopes.

    Attributes
    ----------
    at : (n, d) ndarray
        Displacements z of the values; none is 0, as the model is exact there.
    values : (n, m) ndarray
        Residuals minus those at the centre.
    bases : (p, d) ndarray
        Displacements of the points where slopes were taken.
    directions : (p, d) ndarray
        Unit vectors along which slopes were taken.
    slopes : (p, m) ndarray
    gains : (p,) ndarray
        Variance of a slope if the noise in a residual has variance 1.
    """

    at: Floats
    values: Floats
    bases: Floats
    directions: Floats
    slopes: Floats
    gains: Floats

    @property
    def size(self) -> int:
        """Number of observed numbers that enter the likelihood."""
        return (len(self.at) + len(self.bases)) * min(_OUTPUTS, int(self.slopes.shape[1]))


@dataclass(frozen=True, eq=False)
class _Products:
    """Inner products of the observations, which give the kernel for any length."""

    vv: Floats
    vs: Floats
    vu: Floats
    ss: Floats
    su: Floats
    uu: Floats

    @staticmethod
    def of(o: Observed) -> _Products:
        return _Products(
            o.at @ o.at.T,
            o.at @ o.bases.T,
            o.at @ o.directions.T,
            o.bases @ o.bases.T,
            o.bases @ o.directions.T,
            o.directions @ o.directions.T,
        )

    def kernel(self, length: float) -> Floats:
        """Covariance of the observations if the signal has variance 1, (n + p, n + p)."""
        e = length**2
        n, p = self.vs.shape
        k = np.empty((n + p, n + p))
        k[:n, :n] = _g(self.vv / e)
        k[:n, n:] = _g1(self.vs / e) * self.vu / e
        k[n:, :n] = k[:n, n:].T
        q = self.ss / e
        k[n:, n:] = (1 + q) * self.su * self.su.T / e**2 + _g1(q) * self.uu / e
        return k


class Model:
    """The mean of the process: residuals minus those at the centre.

    Parameters
    ----------
    observed : Observed
    length : float
    noise : float
        Variance of the noise in a residual, relative to the signal's.
    products : _Products, optional
        Products of the observations, if they are known already.

    Attributes
    ----------
    signal : (m,) ndarray
        Variance of each residual's signal.
    """

    def __init__(
        self, observed: Observed, length: float, noise: float = 0.0, products: _Products | None = None
    ) -> None:
        from scipy.linalg import cholesky, solve_triangular

        o = observed
        self.observed, self.length, self.noise = o, length, noise
        kernel = (products or _Products.of(o)).kernel(length)
        self._spread = np.sqrt(np.maximum(np.diag(kernel), _TINY))
        kernel /= np.outer(self._spread, self._spread)
        # A value and the centre's value are both noisy. For a slope, its gain says how its difference amplifies the
        # noise.
        nugget = noise * np.concatenate((np.full(len(o.at), 2.0), o.gains)) / self._spread**2
        jitter = _JITTER
        while True:
            try:
                self._factor = cholesky(kernel + np.diag(nugget + jitter), lower=True, check_finite=False)
                break
            except np.linalg.LinAlgError:
                jitter *= 100
        y = np.vstack((o.values, o.slopes)) / self._spread[:, None]
        self._whitened = solve_triangular(self._factor, y, lower=True, check_finite=False)
        weights = solve_triangular(self._factor, self._whitened, lower=True, trans="T", check_finite=False)
        weights /= self._spread[:, None]
        self._of_values, self._of_slopes = weights[: len(o.at)], weights[len(o.at) :]
        self.signal = np.sum(self._whitened**2, axis=0) / max(1, len(kernel))

    def log_likelihood(self) -> float:
        """The sum over residuals, each with the most likely variance of its signal."""
        n = len(self._factor)
        signal = np.maximum(self.signal, 1e-20 * max(float(self.signal.max(initial=0.0)), _TINY) + _TINY)
        logs = np.log(np.diag(self._factor)) + np.log(self._spread)
        return float(-0.5 * n * np.log(signal).sum() - len(signal) * logs.sum())

    def value(self, z: Floats) -> Floats:
        """Residuals at a displacement z, minus those at the centre, (m,)."""
        o, e = self.observed, self.length**2
        across = o.directions @ z / e
        of_slopes: Floats = (_g1(o.bases @ z / e) * across) @ self._of_slopes
        return np.asarray(_g(o.at @ z / e) @ self._of_values + of_slopes)

    def jacobian(self, z: Floats) -> Floats:
        """Slopes at a displacement z, (m, d)."""
        o, e = self.observed, self.length**2
        inner, across = o.bases @ z / e, o.directions @ z / e
        of_values = (_g1(o.at @ z / e)[:, None] * o.at).T @ self._of_values
        moved = ((1 + inner) * across)[:, None] * o.bases + _g1(inner)[:, None] * o.directions
        return np.asarray((of_values + moved.T @ self._of_slopes).T / e)

    def curvature(self, z: Floats, weights: Floats) -> Floats:
        """The sum of all residuals' second derivatives, weighted by ``weights`` (m,): (d, d)."""
        o, e = self.observed, self.length**2
        of_values, of_slopes = self._of_values @ weights, self._of_slopes @ weights
        inner, across = o.bases @ z / e, o.directions @ z / e
        first = (o.at * (of_values * (1 + o.at @ z / e))[:, None]).T @ o.at
        second = (o.bases * (of_slopes * across)[:, None]).T @ o.bases
        mixed = (o.bases * (of_slopes * (1 + inner))[:, None]).T @ o.directions
        return np.asarray((first + second + mixed + mixed.T) / e**2)

    def slope_covariance(self, z: Floats) -> Floats:
        """Covariance of the slope at z given the observations, for a signal of variance 1, (d, d)."""
        from scipy.linalg import solve_triangular

        o, e = self.observed, self.length**2
        q = float(z @ z) / e
        prior: Floats = (1 + q) * np.outer(z, z) / e**2 + (1 + q * (1 + q / 2)) * np.eye(len(z)) / e
        inner, across = o.bases @ z / e, o.directions @ z / e
        moved = ((1 + inner) * across)[:, None] * o.bases + _g1(inner)[:, None] * o.directions
        cross = np.vstack((_g1(o.at @ z / e)[:, None] * o.at, moved)) / e / self._spread[:, None]
        explained = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        return np.asarray(prior - explained.T @ explained)


def lengths_agree(slopes: Sequence[tuple[bytes, float, Floats]]) -> bool:
    """Whether slopes at one place over two lengths are about the same, so that no noise matters to the shorter one.

    Noise of standard deviation s changes a difference quotient over the length h by s sqrt(2) / h.

    Parameters
    ----------
    slopes : sequence of (bytes, float, (m,) ndarray)
        The place and direction of each, its length, and its value; the first of a place is the shorter one.
    """
    first: dict[bytes, tuple[float, Floats]] = {}
    apart, size = [], []
    for place, length, value in slopes:
        short, there = first.setdefault(place, (length, value))
        if 2 * short < length < np.inf:
            apart.append(float(np.linalg.norm(value - there)))
            size.append(float(np.linalg.norm(value)))
    return bool(apart) and float(np.linalg.norm(apart)) <= _AGREE * float(np.linalg.norm(size))


class LinearModel:
    """The first-order model of a Jacobian (m, d)."""

    def __init__(self, jacobian: Floats) -> None:
        self._jacobian = jacobian

    def value(self, z: Floats) -> Floats:
        """As `Model.value`."""
        return np.asarray(self._jacobian @ z)

    def jacobian(self, z: Floats) -> Floats:  # noqa: ARG002  # it does not depend on z
        """As `Model.jacobian`."""
        return self._jacobian

    def curvature(self, z: Floats, weights: Floats) -> Floats:  # noqa: ARG002  # the curvature is 0
        """As `Model.curvature`."""
        return np.zeros((len(z), len(z)))


class PartlyLinear:
    """A model of all residuals but the last ones, and those, which are linear in x and known.

    Parameters
    ----------
    model : Model
        Of the first m - q residuals.
    linear : (q, d) ndarray
        Slopes of the others.
    """

    def __init__(self, model: Model, linear: Floats) -> None:
        self._model, self._linear = model, linear
        self.observed, self.length, self.noise, self.signal = model.observed, model.length, model.noise, model.signal

    def value(self, z: Floats) -> Floats:
        """As `Model.value`."""
        return np.concatenate((self._model.value(z), self._linear @ z))

    def jacobian(self, z: Floats) -> Floats:
        """As `Model.jacobian`."""
        return np.concatenate((self._model.jacobian(z), self._linear))

    def curvature(self, z: Floats, weights: Floats) -> Floats:
        """As `Model.curvature`."""
        return self._model.curvature(z, weights[: len(weights) - len(self._linear)])

    def slope_covariance(self, z: Floats) -> Floats:
        """As `Model.slope_covariance`."""
        return self._model.slope_covariance(z)


def fit_model(observed: Observed, noises: Sequence[float] = (0.0,), known: float | None = None) -> tuple[Model, float]:
    """The model with the most likely length and noise variance, and the logarithm of the likelihood.

    Parameters
    ----------
    observed : Observed
    noises : sequence of float
        Candidates for the variance of the noise, relative to the signal's.
    known : float, optional
        The noise's standard deviation, if known: the candidate nearest to it is used.
    """
    o = observed
    distances = np.linalg.norm(np.vstack((o.at, o.bases)), axis=1)
    distances = distances[distances > 0]
    unit, products = float(np.median(distances)) if len(distances) else 1.0, _Products.of(o)
    some = np.unique(np.linspace(0, o.slopes.shape[1] - 1, _OUTPUTS).astype(int))
    few = Observed(o.at, o.values[:, some], o.bases, o.directions, o.slopes[:, some], o.gains)
    lengths = [unit * length for length in LENGTHS] if len(distances) else [unit]
    best: tuple[float, Model] | None = None
    for noise in noises:
        tried = [Model(few, length, noise, products) for length in lengths]
        likely = [model.log_likelihood() for model in tried]
        model, score = tried[int(np.argmax(likely))], max(likely)
        if known is not None:
            score = -abs(float(np.log(max(noise * float(np.mean(model.signal)), _TINY)) - 2 * np.log(known)))
        if best is None or score > best[0]:
            best = score, model
    assert best is not None, "there is a noise"
    return Model(o, best[1].length, best[1].noise, products), best[0]


def with_value_at(model: Model | PartlyLinear, z: Floats) -> Model:
    """The model as if the value at z were known: only the uncertainty of slopes is right in it."""
    o = model.observed
    none = np.zeros((len(o.at) + 1, 0))
    more = Observed(np.vstack((o.at, z)), none, o.bases, o.directions, np.zeros((len(o.bases), 0)), o.gains)
    return Model(more, model.length, model.noise)


def _g(q: Floats) -> Floats:
    return q * (1 + q / 2 * (1 + q / 3))


def _g1(q: Floats) -> Floats:
    return 1 + q * (1 + q / 2)
