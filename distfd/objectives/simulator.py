"""J as a stateful simulator: a class, instantiated once in each worker process."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.fingerprint.fingerprint import fingerprint
from distfd.objectives.base import Objective
from distfd.objectives.python_key import python_key
from distfd.objectives.structured import arranged, key_within, parts_of
from distfd.workers.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from distfd.core.structure import Structure
    from distfd.fingerprint.fingerprint import Fingerprint


@dataclass(frozen=True, eq=False)
class SimulatorObjective(Objective):
    """J(x) = simulator.evaluate(x), where every point starts from the same state.

    Parameters
    ----------
    simulator : class
        A class with ``evaluate(x)``, and optionally ``setup()`` (called once, after it is made), ``reset()`` (before
        each point), ``snapshot()`` and ``restore(state)``, and ``close()``. Without ``reset``, the state after
        ``setup`` is restored before each point. With a warm start, the state of another evaluation is restored, after
        ``reset``. A state is anything that can be pickled.
    args, kwargs
        Arguments of the class.
    version : str, optional
        Identifies everything that J depends on, where this cannot be determined.
    structure : Structure, optional
        The structure in which ``evaluate`` is given x.
    """

    simulator: type
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None
    structure: Structure | None = None

    def structured(self, structure: Structure) -> SimulatorObjective:
        """The same simulator, with x given in a structure."""
        return replace(self, structure=structure)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons to doubt the simulator's values, each a sentence for the user."""
        if any(callable(getattr(self.simulator, name, None)) for name in ("reset", "restore")):
            return ()
        text = (
            f"{self.simulator.__name__} has neither reset() nor restore(state): if evaluate() changes anything in it, "
            "J depends on what was evaluated before, and its differences mean nothing; give it a reset(), an empty one "
            "if it keeps no state"
        )
        return (text,)

    def check_warm(self, mode: str | None) -> None:
        """Checks that the simulator can start from a state, if that is asked for.

        Raises
        ------
        InputError
            If the class has no ``snapshot()`` or no ``restore(state)``.
        """
        lacking = [f for f in ("snapshot", "restore") if not callable(getattr(self.simulator, f, None))]
        if mode is not None and lacking:
            raise InputError(
                f"warm: {mode} needs snapshot() and restore(state), and {self.simulator.__name__} has no "
                f"{' and no '.join(lacking)}"
            )

    @property
    def parts(self) -> tuple[Any, ...]:
        """The class and its arguments."""
        return self.simulator, self.args, self.kwargs, *parts_of(self.structure)

    def fingerprint(self) -> str | None:
        """Digest of the class and its arguments."""
        found = self._print()
        return python_key(key_within(found.digest, self.structure), self) if found.stable else None

    @property
    def unrecognised_because(self) -> str | None:
        """Which object that J refers to cannot be identified, and where it is."""
        return self._print().unstable_because

    def _print(self) -> Fingerprint:
        made_of = (self.simulator, self.args, dict(self.kwargs), *parts_of(self.structure))
        return fingerprint(made_of, version=self.version)

    def make(self) -> Model:
        """Makes an instance and sets it up."""
        return arranged(SimulatorModel(self.simulator(*self.args, **self.kwargs)), self.structure)


class SimulatorModel(Model):
    """A simulator that is set up."""

    def __init__(self, simulator: Any) -> None:
        self._simulator = simulator
        _call(simulator, "setup")
        restores = hasattr(simulator, "restore") and not hasattr(simulator, "reset")
        self._first = _copier(simulator.snapshot()) if restores else None

    def evaluate(self, x: NDArray[np.float64], *, timeout: float | None) -> Any:  # noqa: ARG002  # ended from outside
        """Restores the first state, then evaluates."""
        self._begin()
        return self._simulator.evaluate(x)

    def evaluate_from(
        self,
        x: NDArray[np.float64],
        state: Any,
        *,
        timeout: float | None,  # noqa: ARG002  # ended from outside
        capture: bool,
    ) -> tuple[Any, Any]:
        """J at x from a state (None: the first one), and the state afterwards if ``capture``."""
        self._begin()
        if state is not None:
            self._simulator.restore(state)
        value = self._simulator.evaluate(x)
        return value, self._simulator.snapshot() if capture else None

    def _begin(self) -> None:
        if self._first is None:
            _call(self._simulator, "reset")
        else:
            self._simulator.restore(self._first())

    def close(self) -> None:
        """Closes the simulator."""
        _call(self._simulator, "close")


def _copier(state: Any) -> Callable[[], Any]:
    """A function that returns a new copy of the state each time, or the state itself if it cannot be copied.

    A copy is needed because the state may be a view of data that ``evaluate`` changes, and ``restore`` may keep its
    argument.
    """
    try:
        packed = pickle.dumps(state, protocol=5)
    except Exception:
        return lambda: state
    return lambda: pickle.loads(packed)  # noqa: S301  # packed here


def _call(simulator: Any, method: str) -> None:
    if hasattr(simulator, method):
        getattr(simulator, method)()
