"""Two tanks in a row as a co-simulation unit, in the way of an FMU: instantiate, set, step, read, get and set state.

A real FMU has these calls in its library (fmi2Instantiate, fmi2Reset, fmi2SetReal, fmi2DoStep, fmi2GetReal,
fmi2GetFMUstate, fmi2SetFMUstate), and a package such as FMPy has them in Python. `Tanks` below is all that distfd needs
around them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRAVITY = 9.81


class TankUnit:
    """The unit: an inflow fills the first tank, which drains into the second, which drains away."""

    def instantiate(self) -> None:
        """Load it; a real one takes a while here."""
        self.reset()

    def reset(self) -> None:
        """Back to its start values."""
        self.real = {"inflow": 0.02, "outlet1": 0.005, "outlet2": 0.004, "area": 1.0, "level1": 0.5, "level2": 0.5}
        self.time = 0.0

    def set_real(self, name: str, value: float) -> None:
        """A parameter or start value."""
        self.real[name] = value

    def get_real(self, name: str) -> float:
        """An output."""
        return self.real[name]

    def do_step(self, step: float) -> None:
        """Go on by one communication step (the classic Runge-Kutta method)."""
        level = self.real["level1"], self.real["level2"]
        slopes = [self._slope(*level)]
        for part in (0.5, 0.5, 1.0):
            slopes.append(self._slope(*(h + part * step * s for h, s in zip(level, slopes[-1], strict=True))))
        for k, name in enumerate(("level1", "level2")):
            one, two, three, four = (slope[k] for slope in slopes)
            self.real[name] = level[k] + step / 6 * (one + 2 * two + 2 * three + four)
        self.time += step

    def get_state(self) -> bytes:
        """All that a later run needs to go on from here."""
        return repr((self.time, sorted(self.real.items()))).encode()

    def set_state(self, state: bytes) -> None:
        """Go back there."""
        import ast

        self.time, real = ast.literal_eval(state.decode())
        self.real = dict(real)

    def _slope(self, level1: float, level2: float) -> tuple[float, float]:
        real = self.real
        first = real["outlet1"] * math.sqrt(2 * GRAVITY * max(level1, 0.0))
        second = real["outlet2"] * math.sqrt(2 * GRAVITY * max(level2, 0.0))
        return (real["inflow"] - first) / real["area"], (first - second) / real["area"]


class Tanks:
    """The simulator: J is the mean squared distance of the second tank's level from a wanted one."""

    wanted = 0.8  # m
    duration, step = 600.0, 1.0  # s

    def setup(self) -> None:
        """Once in each worker process."""
        self.unit = TankUnit()
        self.unit.instantiate()

    def reset(self) -> None:
        """Before each evaluation."""
        self.unit.reset()

    def snapshot(self) -> bytes:
        """The state; only warm starts ask for it."""
        return self.unit.get_state()

    def restore(self, state: bytes) -> None:
        """Start from such a state."""
        self.unit.set_state(state)

    def evaluate(self, x: NDArray[np.float64]) -> float:
        """J for an inflow, m^3/s, and the openings of both outlets, m^2."""
        for name, value in zip(("inflow", "outlet1", "outlet2"), x.tolist(), strict=True):
            self.unit.set_real(name, value)
        steps = round(self.duration / self.step)
        total = 0.0
        for _ in range(steps):
            self.unit.do_step(self.step)
            total += (self.unit.get_real("level2") - self.wanted) ** 2
        return total / steps
