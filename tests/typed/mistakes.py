"""Uses that type checkers must refuse, one a line: nothing here is run."""

from __future__ import annotations

import numpy as np

import distfd


def cost(x: object) -> float:
    return 0.0


x0 = np.array([1.0, 2.0])
distfd.gradient(cost, x0, scheme="centrall")  # refused
distfd.gradient(cost, x0, on_failur="nan")  # refused
distfd.gradient(cost, x0, on_failure="ignore")  # refused
distfd.gradient(cost, x0, executor="rya")  # refused
distfd.gradient(cost, x0, timeout="5 min")  # refused
distfd.gradient(cost, x0, retries="many")  # refused
distfd.gradient(cost, x0, names=3)  # refused
distfd.gradient(cost, x0, warm="hot")  # refused
distfd.gradient(cost, x0, observers=print)  # refused
distfd.gradient(cost, x0, store=3)  # refused
distfd.gradient(cost, x0, stpe=1e-6)  # refused
distfd.gradient(cost, x0, deterministic="no")  # refused
distfd.gradient(cost, x0, recycle={"evaluation": 3})  # refused
distfd.gradient(cost)  # refused
distfd.jacobian(cost, x0, sparse=True)  # refused
distfd.hessian(cost, x0, schem="central")  # refused
distfd.hvp(cost, x0)  # refused
distfd.differentiate(cost, x0, kind="gradiant")  # refused
distfd.differentiate(cost, x0, kin="gradient")  # refused
distfd.noise_level(cost, x0, seed=3)  # refused
distfd.minimize(cost, x0, method="L-BFGS-C")  # refused
distfd.minimize(cost, x0, limit=distfd.Limits())  # refused
distfd.minimize(cost, x0, limits=100)  # refused
distfd.minimize(cost, x0, callback=3)  # refused
distfd.minimize(cost, x0, scheme="forwards")  # refused
distfd.least_squares(cost, x0, method="L-BFGS-B")  # refused
distfd.least_squares(cost, x0, spasity=None)  # refused
distfd.sensitivity(cost, x0)  # refused
distfd.sensitivity(cost, x0, 0.1, scheme="centrall")  # refused
distfd.sensitivity(cost, x0, 0.1).sigmas  # refused
distfd.curve_fit(cost, x0, x0, method="model")  # refused
distfd.curve_fit(cost, x0, x0, sigmas=0.1)  # refused
distfd.curve_fit(cost, x0, x0, scheme="3-point")  # refused
distfd.check_gradient(cost, x0, x0, toleranze=1e-3)  # refused
distfd.step_sweep(cost, x0, scheme="centrall")  # refused
distfd.Evaluator(cost, scheme="centrall")  # refused
distfd.Evaluator(cost, bound=[(0, 1)])  # refused
distfd.Evaluator(cost, accuracy="high")  # refused
distfd.Evaluator(cost).gradiant(x0)  # refused
distfd.Evaluator(cost).differentiate(x0, kind="hess")  # refused
distfd.RayExecutor(maxslots=3)  # refused
distfd.RayExecutor(address=5)  # refused
distfd.RayExecutor(num_gpu=1)  # refused
distfd.RayExecutor(nodes="2")  # refused
distfd.Limits(tolerence=1e-3)  # refused
distfd.AbsoluteStep()  # refused
distfd.gradient(cost, x0).toarray()  # refused
distfd.differentiate(cost, x0).derivativ  # refused
