"""A black box as a component of an OpenMDAO model, with partial derivatives by distfd."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmdao.api as om

from distfd.integrations.arguments import as_outputs, check_evaluator


class BlackBox(om.ExplicitComponent):  # type: ignore[misc]  # OpenMDAO is Any to the type checker
    """J(x) with one input, the vector x, and one output.

    OpenMDAO asks for J first and for its partials later, at the same x: the baseline is then known, and the partials
    take d evaluations (forward). Declare no `approx` on it; distfd is the approximation.

    Parameters
    ----------
    evaluator : Evaluator
        Of J; it decides on scheme, step and executor. It is yours to close.
    x : (d,) array
        The input's first value.
    outputs : int, optional
        m, for a J that returns (m,); None, the default, for one that returns a number.
    input_name, output_name : str
        "x" and "J" by default.

    Raises
    ------
    EvaluationError
        From ``compute`` and ``compute_partials``, if J fails; OpenMDAO puts the component's name before it.
    """

    def initialize(self) -> None:
        """Declare the options."""
        # A session cannot be copied into OpenMDAO's recordings.
        self.options.declare("evaluator", recordable=False, check_valid=_is_evaluator)
        self.options.declare("x")
        self.options.declare("outputs", default=None, types=int, allow_none=True)
        self.options.declare("input_name", default="x", types=str)
        self.options.declare("output_name", default="J", types=str)

    def setup(self) -> None:
        """Declare input, output and the partials between them."""
        of, wrt = self.options["output_name"], self.options["input_name"]
        self.add_input(wrt, val=np.asarray(self.options["x"], np.float64))
        self.add_output(of, shape=self.options["outputs"] or 1)
        self.declare_partials(of, wrt)

    def compute(self, inputs: Any, outputs: Any) -> None:
        """J at x."""
        at = np.array(inputs[self.options["input_name"]])
        value = self.options["evaluator"].value(at)
        outputs[self.options["output_name"]] = as_outputs(value, self.options["outputs"])

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        """dJ/dx at x, (m, d)."""
        of, wrt = self.options["output_name"], self.options["input_name"]
        kind = "gradient" if self.options["outputs"] is None else "jacobian"
        found = self.options["evaluator"].differentiate(np.array(inputs[wrt]), kind=kind)
        partials[of, wrt] = np.atleast_2d(found.derivative)


def _is_evaluator(name: str, value: Any) -> None:  # noqa: ARG001  # OpenMDAO's signature
    check_evaluator(value, "distfd.openmdao.BlackBox: evaluator")
