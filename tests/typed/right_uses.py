"""Uses that type checkers must accept: nothing here is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import distfd

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cost(x: NDArray[np.float64]) -> float:
    return float(x @ x)


def outputs(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x**2


class Simulator:
    def evaluate(self, x: NDArray[np.float64]) -> float:
        return float(x.sum())


x0 = np.array([1.0, 2.0])
g: NDArray[np.float64] = distfd.gradient(cost, x0)
g = distfd.gradient(cost, [1.0, 2.0], scheme="central", step=1e-6, bounds=[(0.0, None), (None, 3.0)])
g = distfd.gradient(cost, x0, step="auto", executor="serial", on_failure="nan", retries={"error": 1}, timeout=5.0)
g = distfd.gradient(cost, x0, step=distfd.AbsoluteStep(1e-3), names=["a", "b"], observers=[print])
g = distfd.gradient(cost, x0, scheme=distfd.Stencil("mine", (-1.0, 1.0)), recycle={"evaluations": 10})
value, slope = distfd.value_and_gradient(cost, x0, store="run.sqlite", version="2")
sine: float = float(np.sin(value)) + float(slope[0])
dense: NDArray[np.float64] = distfd.jacobian(outputs, x0)
sparse = distfd.jacobian(outputs, x0, sparsity=np.eye(2)).toarray()
curvature: NDArray[np.float64] = distfd.hessian(cost, x0, scale=[1.0, 10.0])
result: distfd.DerivativeResult = distfd.differentiate(Simulator, x0, kind="hvp", v=[1.0, 0.0])
print(result.derivative.shape, result.n_evaluations, result.to_dataframe())
level = distfd.noise_level(cost, x0, executor=distfd.SerialExecutor()).level
best = distfd.minimize(cost, x0, method="L-BFGS", options={"maxiter": 10}, limits=distfd.Limits(tolerance=1e-6))
fit = distfd.least_squares(outputs, x0, method="dogbox", bounds=([0.0, 0.0], [5.0, 5.0]), loss="soft_l1")
print(best.x, fit.cost)
spread: NDArray[np.float64] = distfd.sensitivity(outputs, x0, [0.1, 0.2], scheme="central").sigma
popt, pcov = distfd.curve_fit(lambda t, a: a * t, x0, x0, sigma=0.1, executor="serial", ftol=1e-8, method="trf")
popt, pcov, info, message, code = distfd.curve_fit(lambda t, a: a * t, x0, x0, full_output=True, jac="3-point")
print(popt + 1.0, pcov.shape, info["nfev"], message.upper(), code + 1)

with distfd.Evaluator(cost, scheme="forward", executor=distfd.RayExecutor(max_slots=2), warm=None) as ev:
    pending = ev.begin(x0)
    print(pending.value(), pending.result().derivative)
    total: NDArray[np.float64] = ev.map([x0, x0 + 1.0])
    hessian: NDArray[np.float64] = ev.hessian(x0)

distfd.RayExecutor(num_gpus=0.5, custom={"licence": 1}, nodes=2, labels={"zone": "a"}, memory=2**30)
with distfd.RayExecutor(max_slots=2, keep_idle="1min") as shared:
    again: NDArray[np.float64] = distfd.gradient(cost, x0, executor=shared)
distfd.shutdown()
