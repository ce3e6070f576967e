"""J as a stateful simulator: a class, made once in each worker process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distfd.fingerprint import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SimulatorObjective:
    """J(x) = simulator.evaluate(x), every point from the same state.

    Parameters
    ----------
    simulator : class
        With ``evaluate(x)``, and optionally ``setup()`` (once, after it is made), ``reset()`` (before each point),
        ``snapshot()`` and ``restore(state)`` (without ``reset``: the state after ``setup`` is restored before each
        point), and ``close()``.
    args, kwargs
        What the class is called with.
    version : str, optional
        Stands for all that J depends on where that cannot be found out.
    """

    simulator: type
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None

    limits_itself = False

    def fingerprint(self) -> str | None:
        """Digest of the class and its arguments."""
        found = fingerprint((self.simulator, self.args, dict(self.kwargs)), version=self.version)
        return found.digest if found.stable else None

    def make(self) -> SimulatorModel:
        """Make one and set it up."""
        return SimulatorModel(self.simulator(*self.args, **self.kwargs))


class SimulatorModel:
    """A simulator, set up."""

    def __init__(self, simulator: Any) -> None:
        self._simulator = simulator
        _call(simulator, "setup")
        self._restores = hasattr(simulator, "restore") and not hasattr(simulator, "reset")
        self._state = simulator.snapshot() if self._restores else None

    def evaluate(self, x: NDArray[np.float64], *, timeout: float | None) -> Any:  # noqa: ARG002  # ended from outside
        """Bring it back to its first state, then evaluate."""
        if self._restores:
            self._simulator.restore(self._state)
        else:
            _call(self._simulator, "reset")
        return self._simulator.evaluate(x)

    def close(self) -> None:
        """Close it."""
        _call(self._simulator, "close")


def _call(simulator: Any, method: str) -> None:
    if hasattr(simulator, method):
        getattr(simulator, method)()
