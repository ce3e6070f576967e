"""OpenMDAO's beam: how its compliance depends on its thickness, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openmdao.api as om
from openmdao.test_suite.test_examples.beam_optimization.beam_group import BeamGroup

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPLIANCE = "compliance_comp.compliance"


class Beam:
    """A cantilever of finite elements with a load at its tip, as a simulator: made once in each worker process."""

    def __init__(self, num_elements: int = 10) -> None:
        self.num_elements = num_elements

    def setup(self) -> None:
        """Build the OpenMDAO problem, once."""
        model = BeamGroup(E=1.0, L=1.0, b=0.1, volume=0.01, num_elements=self.num_elements)
        self.problem: Any = om.Problem(model=model, reports=False)
        self.problem.setup(derivatives=True)

    def reset(self) -> None:
        """Nothing: the beam's equations are solved directly, and what was there before leaves no trace."""

    def evaluate(self, x: NDArray[np.float64]) -> float:
        """The compliance for thicknesses x, (num_elements,)."""
        self.problem.set_val("h", x)
        self.problem.run_model()
        return float(self.problem.get_val(COMPLIANCE)[0])
