"""The live J inside a worker: what an objective makes once in each process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from distfd.core.failures import EvaluationFailure

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Model(ABC):
    """A live J inside one worker process."""

    @abstractmethod
    def evaluate(self, x: NDArray[Any], *, timeout: float | None) -> Any:
        """J at x, (d,), float64 or (for the complex step) complex128, which it may keep or write to.

        Whatever it raises becomes a failed evaluation. ``timeout`` is in seconds; only a model whose objective has
        ``limits_itself`` need look at it.
        """

    def evaluate_from(
        self,
        x: NDArray[Any],
        state: Any,  # noqa: ARG002  # for models that have states
        *,
        timeout: float | None,
        capture: bool,
    ) -> tuple[Any, Any]:
        """J at x, begun where another evaluation has ended, and the state that J is in then.

        The default is a J without states.

        Parameters
        ----------
        state : object or None
            What an earlier call gave back, in whatever process, as a copy that is this call's own; None for the state
            in which every evaluation begins otherwise.
        capture : bool
            Whether the state afterwards is asked for: plain data, which goes to other processes.
        """
        if capture:
            raise EvaluationFailure("this J has no states from which another evaluation could start")
        return self.evaluate(x, timeout=timeout), None

    def output_names(self, m: int) -> tuple[str, ...] | None:  # noqa: ARG002  # for those whose outputs have names
        """What m outputs are called in messages; None where they have no names."""
        return None

    def close(self) -> None:  # noqa: B027  # most have nothing to free
        """Free what the model holds; called once, when the worker ends in good order."""


class MakesModel(Protocol):
    """The one thing that a worker asks of an objective."""

    def make(self) -> Model:
        """Make the live J; called once in each worker process."""
