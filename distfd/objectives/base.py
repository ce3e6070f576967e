"""The contract of an objective: the description of J on the driver, from which workers make the running J."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import TYPE_CHECKING, Any, Self

from distfd.core.errors import EvaluationError, InputError
from distfd.core.failures import EvaluationFailure
from distfd.workers.model import Model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from distfd.core.structure import Structure
    from distfd.objectives.output_parts import OutputPart
    from distfd.workers.surroundings import Surroundings


class Objective(ABC):
    """The description of J that the driver holds: picklable, without a running J.

    A subclass must define ``make`` and ``fingerprint``. All other members have defaults that suit a Python function.

    Attributes
    ----------
    surroundings : Surroundings or None
        The process settings that J needs in workers, as they are in this process; None where J does not depend on any.
    """

    surroundings: Surroundings | None = None

    @abstractmethod
    def make(self) -> Model:
        """Makes the running J; called once in each worker process."""

    @abstractmethod
    def fingerprint(self) -> str | None:
        """A digest of all that J's value depends on besides x; None where that cannot be known across processes."""

    @property
    def unrecognised_because(self) -> str | None:
        """Why `fingerprint` is None, and what to do, in words; None where nobody knows, or it is not None."""
        return None

    def __call__(self, x: ArrayLike) -> Any:
        """J(x), once, in this process: a number, or an (m,) array.

        Use it to try J: the running J is made for this call and closed again. Derivatives and an `Evaluator` make it
        once in each worker.

        Raises
        ------
        EvaluationError
            If a program or an FMU fails at x. Exceptions of a J in Python are raised unchanged.
        """
        import numpy as np

        model = self.make()
        try:
            value = np.asarray(model.evaluate(np.array(x, dtype=np.float64).reshape(-1), timeout=None))
        except EvaluationFailure as error:
            raise EvaluationError("\n".join(filter(None, (f"J failed: {error}", error.detail)))) from error
        finally:
            model.close()
        return value if value.ndim else value.item()

    @property
    def parts(self) -> tuple[Any, ...]:
        """The Python objects that J consists of: if something that they refer to changes, J is another one."""
        return (self,)

    @property
    def sees_process(self) -> bool:
        """Whether J may depend on the environment and settings of this process and on its working directory."""
        return True

    def within(self, surroundings: Surroundings | None) -> Self:
        """The same objective, for workers that should have these surroundings."""
        there = copy(self)
        object.__setattr__(there, "surroundings", surroundings)
        return there

    @property
    def leaves_process_clean(self) -> bool:
        """Whether a process that has run J can go on with another J, because nothing of this one stays in it."""
        return False

    @property
    def limits_itself(self) -> bool:
        """Whether ``Model.evaluate`` ends itself at its timeout; if not, the executor ends its process."""
        return False

    @property
    def takes_complex(self) -> bool:
        """Whether J may be given complex x, as the complex step does."""
        return True

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons to doubt J's values, each a sentence for the user; they become warnings at the start."""
        return ()

    @property
    def solver_tolerance(self) -> float | None:
        """The relative tolerance of an adaptive solver in J; J jumps by about as much between neighbouring x.

        None if there is no such solver, or its tolerance is not known.
        """
        return None

    @property
    def reads_text(self) -> bool:
        """Whether J reads x from text, which may have fewer digits than x; `written` then gives the realised steps."""
        return False

    @property
    def writes_text(self) -> bool:
        """Whether J's values are read from a program's text, so that few digits in them are no coincidence."""
        return False

    @property
    def parameter_names(self) -> Sequence[str] | None:
        """J's own names for the coordinates of x, in order; None where J has none.

        Messages and results use them if neither x0 nor ``names`` gives names. They do not change the keys of stored
        values.
        """
        return None

    def output_names(self, m: int) -> tuple[str, ...] | None:  # noqa: ARG002  # overridden where outputs have names
        """The names of J's m outputs; None where they have none."""
        return None

    @property
    def output_parts(self) -> tuple[OutputPart, ...] | None:
        """Where J's outputs come from, in order; None where they have no names by which `sigma` could be given."""
        return None

    def written(
        self, x: NDArray[np.float64], index: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The displacements of coordinates as J sees them.

        Parameters
        ----------
        x : (d,) ndarray
        index : (a,) ndarray
            The coordinates.
        values : (a, n) ndarray
            New values of each coordinate, of which each is tried alone.

        Returns
        -------
        (a, n) ndarray
            Displacements from x.

        Raises
        ------
        InputError
            If J does not see a coordinate move.
        """
        return values - x[index, None]

    def check_warm(self, mode: str | None) -> None:
        """Checks that J can start from the state in which another evaluation ended, if that is asked for.

        Parameters
        ----------
        mode : "baseline", "iterate" or None
            The kind of warm start; None for cold starts.

        Raises
        ------
        InputError
            If J cannot.
        """
        if mode is not None:
            raise InputError(
                f"warm: {mode} needs a simulator with snapshot() and restore(state), or a program with restart files, "
                "and J is a function"
            )

    def check(self, x0: ArrayLike) -> None:  # noqa: B027  # most objectives have nothing to check
        """Checks, without running anything, whether an evaluation at x0 could start.

        Raises
        ------
        InputError
            If it could not; the message gives the reason.
        """

    def named(self, names: Sequence[str]) -> Objective:  # noqa: ARG002  # overridden where x is written by name
        """The same objective with these names of its parameters, if it uses names."""
        return self

    def structured(self, structure: Structure) -> Objective:  # noqa: ARG002  # overridden where J gets x itself
        """The same objective, with x passed to J in this structure; by default J still gets flat numbers.

        `named` is called as well, with the names that the structure gives.
        """
        return self

    def shipped_files(self) -> tuple[str, ...]:
        """Files and folders on the driver that J needs, and that other nodes may not see."""
        return ()

    def module_texts(self) -> Mapping[str, tuple[str, bytes]]:
        """The user's modules that J imports by its own means: name -> (file, text as read)."""
        return {}

    def with_files_at(self, places: Mapping[str, str]) -> Self:  # noqa: ARG002  # overridden where files are shipped
        """The same objective, with shipped files at their places on a node: {path here: path there}."""
        return self

    def tidy(self) -> None:  # noqa: B027  # most objectives leave nothing behind
        """Removes what interrupted evaluations left behind; called after all workers have ended."""


def adapted(given: Any) -> Objective | None:
    """An `Objective` for any object that has ``make`` and ``fingerprint``; None for other objects.

    Other members of the contract are used where the object has them.
    """
    if isinstance(given, Objective):
        return given
    if isinstance(given, type) or not (hasattr(given, "make") and hasattr(given, "fingerprint")):
        return None
    return _Adapted(given)


class _Adapted(Objective):
    """Wraps an object with some members of the contract: uses its own members, and defaults for the others."""

    def __init__(self, given: Any) -> None:
        self._given = given

    @property
    def parts(self) -> tuple[Any, ...]:
        return tuple(getattr(self._given, "parts", (self._given,)))

    @property
    def sees_process(self) -> bool:
        return bool(getattr(self._given, "sees_process", True))

    def make(self) -> Model:
        made = self._given.make()
        return made if isinstance(made, Model) else _AdaptedModel(made)

    def fingerprint(self) -> str | None:
        found: str | None = self._given.fingerprint()
        return found

    @property
    def unrecognised_because(self) -> str | None:
        found: str | None = getattr(self._given, "unrecognised_because", None)
        return found

    @property
    def limits_itself(self) -> bool:
        return bool(getattr(self._given, "limits_itself", False))

    @property
    def takes_complex(self) -> bool:
        return bool(getattr(self._given, "takes_complex", True))

    @property
    def doubts(self) -> tuple[str, ...]:
        return tuple(getattr(self._given, "doubts", ()))

    @property
    def solver_tolerance(self) -> float | None:
        found: float | None = getattr(self._given, "solver_tolerance", None)
        return found

    @property
    def reads_text(self) -> bool:
        return hasattr(self._given, "written")

    @property
    def writes_text(self) -> bool:
        return bool(getattr(self._given, "writes_text", False))

    def written(
        self, x: NDArray[np.float64], index: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        found: NDArray[np.float64] = getattr(self._given, "written", super().written)(x, index, values)
        return found

    @property
    def parameter_names(self) -> Sequence[str] | None:
        found: Sequence[str] | None = getattr(self._given, "parameter_names", None)
        return found

    def output_names(self, m: int) -> tuple[str, ...] | None:
        found: tuple[str, ...] | None = getattr(self._given, "output_names", super().output_names)(m)
        return found

    @property
    def output_parts(self) -> tuple[OutputPart, ...] | None:
        found: tuple[OutputPart, ...] | None = getattr(self._given, "output_parts", None)
        return found

    def check_warm(self, mode: str | None) -> None:
        getattr(self._given, "check_warm", super().check_warm)(mode)

    def check(self, x0: ArrayLike) -> None:
        getattr(self._given, "check", super().check)(x0)

    def named(self, names: Sequence[str]) -> Objective:
        own = getattr(self._given, "named", None)
        return self if own is None else _Adapted(own(names))

    def structured(self, structure: Structure) -> Objective:
        own = getattr(self._given, "structured", None)
        return self if own is None else _Adapted(own(structure))

    def shipped_files(self) -> tuple[str, ...]:
        return tuple(getattr(self._given, "shipped_files", super().shipped_files)())

    def module_texts(self) -> Mapping[str, tuple[str, bytes]]:
        found: Mapping[str, tuple[str, bytes]] = getattr(self._given, "module_texts", super().module_texts)()
        return found

    def with_files_at(self, places: Mapping[str, str]) -> Self:
        own = getattr(self._given, "with_files_at", None)
        return self if own is None else type(self)(own(places))

    def tidy(self) -> None:
        getattr(self._given, "tidy", super().tidy)()


class _AdaptedModel(Model):
    """Wraps a running J of another class; only ``evaluate`` is required."""

    def __init__(self, given: Any) -> None:
        self._given = given

    def evaluate(self, x: NDArray[Any], *, timeout: float | None) -> Any:
        return self._given.evaluate(x, timeout=timeout)

    def evaluate_from(self, x: NDArray[Any], state: Any, *, timeout: float | None, capture: bool) -> tuple[Any, Any]:
        own = getattr(self._given, "evaluate_from", super().evaluate_from)
        value, after = own(x, state, timeout=timeout, capture=capture)
        return value, after

    def close(self) -> None:
        getattr(self._given, "close", super().close)()
