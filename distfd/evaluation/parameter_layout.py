"""How a user's x is arranged, flat or as a structure with names, and the options by name that wait for such an x."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.core.structure import make_structure
from distfd.core.structure_kinds import has_names, is_structured
from distfd.evaluation.structured_options import (
    are_flat_bounds,
    flat_numbers,
    flat_particulars,
    in_order_of,
    resolved_options,
    without_names,
)
from distfd.results.structured_result import structured_result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from distfd.core.structure import Structure
    from distfd.evaluation.keywords import PointLike
    from distfd.evaluation.options import DerivativeOptions
    from distfd.results.derivative_result import DerivativeResult


class ParameterLayout:
    """What x looks like to the user, known from the first x on.

    Parameters
    ----------
    options : DerivativeOptions
        Those for flat numbers.
    waiting : mapping
        Options by name, such as a dict of steps, until there is an x with these names.
    adopt : callable
        Told of the options for flat numbers once they are known, and of the structure of x, None for a flat x; before
        the first x is evaluated.
    own : sequence of str or None
        What J calls its parameters, where it has names for them.

    Raises
    ------
    InputError
        If the options name some of J's own parameters, but not as J does.
    """

    def __init__(
        self,
        options: DerivativeOptions,
        waiting: Mapping[str, Any],
        adopt: Callable[[DerivativeOptions, Structure | None], None],
        own: Sequence[str] | None = None,
    ) -> None:
        self._own = None if own is None else tuple(own)
        self._names = options.names
        if options.names is not None:
            self._check_own("names", tuple(options.names))
        self.options = options if options.names is not None or own is None else replace(options, names=self._own)
        self.structure: Structure | None = None
        self._waiting, self._adopt = waiting, adopt

    def flat(self, x: PointLike, what: str = "x0") -> ArrayLike:
        """The numbers of x; as it is, where it has no structure."""
        if not is_structured(x):
            self._without_names()
            return x  # type: ignore[return-value]  # checked where it is used
        if self.structure is None:
            structure = make_structure(x, what)
            self._check_own(what, structure.labels)
            options = resolved_options(replace(self.options, names=self._names), self._waiting, structure)
            self._adopt(options, structure)
            self.options, self._waiting, self.structure = options, {}, structure
        return self.structure.flatten(x, what)

    def _check_own(self, what: str, names: tuple[str, ...]) -> None:
        """See that names of J's parameters are all of them, in J's order: J is given x by position."""
        if self._own is None or names == self._own or not set(names) & set(self._own):
            return
        raise InputError(
            f"{what}: names the parameters {', '.join(names)}, and J takes {', '.join(self._own)}; give them with "
            "these names and in this order"
        )

    def _without_names(self) -> None:
        if not self._waiting:
            return
        self.options, self._waiting = without_names(self.options, self._waiting)
        self._adopt(self.options, None)
        if self._waiting:
            name, given = next(iter(self._waiting.items()))
            raise InputError(f"{name}: is given by name, but x0 has no names; {_instead(name, given)}")

    def unflatten(self, x: NDArray[Any]) -> Any:
        """Numbers (d,) as J is given them."""
        return x if self.structure is None else self.structure.unflatten(x)

    def flat_bounds(self, bounds: Any) -> Any:
        """Bounds that are given by the names of x as d pairs; others as they are."""
        if self.structure is None:
            numbers = flat_numbers("bounds", bounds, self.options.names) if has_names(bounds) else None
            return bounds if numbers is None else numbers
        if bounds is None or are_flat_bounds(bounds, self.structure.size):
            return bounds
        return self.structure.bounds(bounds)

    def flat_particulars(self, given: dict[str, Any]) -> dict[str, Any]:
        """What a kind of derivative needs beside x, in flat numbers."""
        if self.structure is not None:
            given = flat_particulars(given, self.structure)
        elif "v" in given:
            given = {**given, "v": in_order_of(self.options.names, given["v"], "v")}
        if "directions" in given:
            ways = in_order_of(self.options.names, given["directions"], "directions", columns_alone=True)
            given = {**given, "directions": ways}
        return given

    def flat_gradient(self, given: Any) -> ArrayLike:
        """What a user's gradient has given, as numbers; it says nothing of x."""
        if self.structure is not None and is_structured(given):
            return self.structure.flatten(given, "grad")
        if isinstance(given, Mapping) and self.options.names is None:
            raise InputError("grad: is given by name, but x0 has no names; give both as dicts, or both as arrays")
        return in_order_of(self.options.names, given, "grad")  # type: ignore[no-any-return]  # checked where it is used

    def as_given(self, x: PointLike, result: DerivativeResult) -> DerivativeResult:
        """The result in the structure that x has, if it has one."""
        if self.structure is None or not is_structured(x):
            return result
        return structured_result(result, self.structure)


def _instead(name: str, given: Any) -> str:
    """What to give in place of an option by name, where x has no names."""
    words = given if isinstance(given, Mapping) else vars(given) if hasattr(given, "__dict__") else {}
    if name == "bounds" and {"lower", "upper"} & set(words):
        return "give scipy.optimize.Bounds(lower, upper)"
    if name == "step" and set(words) == {"absolute"}:
        return "give distfd.AbsoluteStep(h)"
    return "give both as dicts, or both as arrays, with names=[...] for those of the coordinates"
