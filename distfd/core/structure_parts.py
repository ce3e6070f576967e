"""The parts of a structure: leaves, which are numbers and arrays, and branches, which contain other parts.

Each class splits an x of its kind into parts, and makes an x from new parts.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from distfd.core.errors import InputError
from distfd.core.structure_kinds import is_namedtuple, is_series
from distfd.core.validation import real_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

ROOT = "x0"
"""Name of an element without a name of its own, as in a list."""


@dataclass(frozen=True, eq=False)
class Part(ABC):
    """A structure, or a part of one.

    Attributes
    ----------
    path : str
        The part's name in messages.
    """

    numbered: ClassVar[bool] = False
    """Whether the part's children have numbers instead of names."""
    path: str

    @abstractmethod
    def read(self, x: Any, out: NDArray[np.float64], what: str) -> None:
        """Writes the numbers of an x with this structure to their places in ``out``."""

    @abstractmethod
    def build(self, leaf: Callable[[Leaf], Any], *, for_j: bool) -> Any:
        """The structure with the values of ``leaf`` in its leaves; ``for_j``: made with the user's own constructors."""

    @abstractmethod
    def visit(self, given: Any, leaf: Callable[[Leaf, Any], None], what: str, *, pairs: bool = False) -> None:
        """Calls ``leaf`` for each leaf that is present in ``given``, a structure like this with parts missing.

        ``pairs``: whether two numbers count as the bounds of a whole part.
        """

    @abstractmethod
    def leaves(self) -> Iterable[Leaf]:
        """All leaves, in order."""

    @property
    @abstractmethod
    def key(self) -> Any:
        """Plain data that identifies the structure, the same in every process."""

    @property
    def parts(self) -> tuple[Any, ...]:
        """The user's own classes and objects in the part."""
        return ()


@dataclass(frozen=True, eq=False)
class Leaf(Part):
    """A number or an array.

    Attributes
    ----------
    start : int
        The first place of its numbers in the flat x.
    shape : tuple of int
    kind : "number", "scalar", "array" or "series"
        A Python number, a NumPy scalar, an array, or a pandas.Series.
    index, name : optional
        The index and the name of a Series.
    """

    start: int
    shape: tuple[int, ...]
    kind: str
    index: Any = None
    name: Any = None

    @property
    def size(self) -> int:
        """The number of its elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def place(self) -> slice:
        """The places of its numbers in the flat x."""
        return slice(self.start, self.start + self.size)

    def read(self, x: Any, out: NDArray[np.float64], what: str) -> None:
        """Writes its numbers to their places."""
        array = numbers_of(self.aligned(x, what), f"{what}: {self.path or what}")
        if array.shape != self.shape:
            raise InputError(f"{what}: {self.path or what} must have shape {self.shape} (had {array.shape})")
        out[self.place] = array.ravel()

    def aligned(self, x: Any, what: str) -> Any:
        """A Series, or a mapping instead of one, reordered by this leaf's index."""
        if self.kind != "series" or not (is_series(x) or isinstance(x, Mapping)):
            return x
        there, wanted = list(x.keys()), list(self.index)
        if len(there) != len(set(there)) or set(there) != set(wanted):
            raise InputError(f"{what}: {self.path or what} must have the index {few(wanted)} (had {few(there)})")
        found = dict(x.items())
        return np.array([found[key] for key in wanted])

    def gaps_filled(self, given: Any, what: str, gap: Any) -> list[Any]:
        """What a Series, or a mapping instead of one, gives for each name of this leaf; ``gap`` where it gives none.

        Raises
        ------
        InputError
            If it has a name that this leaf has not, or a name twice.
        """
        there, known = list(given.keys()), set(self.index)
        foreign = [key for key in there if key not in known]
        if foreign:
            raise InputError(f"{what}: {self.path or ROOT} has no {few(foreign)}; it has {few(self.index)}")
        if len(set(there)) < len(there):
            raise InputError(f"{what}: {self.path or ROOT} has the name {first_repeated(there)!r} twice")
        found = dict(given.items())
        return [gap if found.get(key) is None else found[key] for key in self.index]

    def build(self, leaf: Callable[[Leaf], Any], *, for_j: bool) -> Any:  # noqa: ARG002  # a leaf has no constructor
        """The value of ``leaf`` for this leaf."""
        return leaf(self)

    def visit(self, given: Any, leaf: Callable[[Leaf, Any], None], what: str, *, pairs: bool = False) -> None:  # noqa: ARG002
        """Calls ``leaf`` for this leaf."""
        if given is not None:
            leaf(self, given)

    def leaves(self) -> Iterable[Leaf]:
        """The leaf itself, alone."""
        yield self

    @property
    def key(self) -> Any:
        """The leaf's kind, shape and index."""
        return [self.kind, list(self.shape), None if self.index is None else list(map(repr, self.index))]

    @property
    def labels(self) -> list[str]:
        """The names of its numbers."""
        if self.kind == "series":
            return [f"{self.path}.{key}" if self.path else str(key) for key in self.index]
        path = self.path or ROOT
        if not self.shape:
            return [path]
        if len(self.shape) == 1:
            return [f"{path}[{k}]" for k in range(self.shape[0])]
        return [f"{path}[{', '.join(map(str, at))}]" for at in np.ndindex(*self.shape)]

    def value(self, vector: NDArray[Any]) -> Any:
        """The value that J gets here, of the same type as in x0, except that integers become floats."""
        part = vector[self.place]
        if self.kind == "series":
            return self.series(part.copy())
        if self.shape:
            return part.reshape(self.shape).copy()
        return part[0].item() if self.kind == "number" else part[0] if self.kind == "scalar" else np.array(part[0])

    def shaped(self, array: Any) -> Any:
        """Results with this leaf's numbers along the last axis: (..., *shape); a sparse array unchanged."""
        if not isinstance(array, np.ndarray):
            return array
        if self.kind == "series" and array.ndim == 1:
            return self.series(array.copy())
        if self.kind == "series" and array.ndim == 2:
            return _pandas().DataFrame(array.copy(), columns=self.index)
        found = array.reshape((*array.shape[:-1], *self.shape)).copy()
        return found.item() if not found.ndim and self.kind == "number" else found

    def block(self, across: Leaf, array: Any) -> Any:
        """Results with this leaf's numbers as rows and those of ``across`` as columns: (*shape, *across.shape)."""
        if not isinstance(array, np.ndarray):
            return array
        if self.kind == "series" and across.kind == "series":
            return _pandas().DataFrame(array.copy(), index=self.index, columns=across.index)
        if self.kind == "series" and not across.shape:
            return self.series(array[:, 0].copy())
        if across.kind == "series" and not self.shape:
            return across.series(array[0].copy())
        found = array.reshape((*self.shape, *across.shape)).copy()
        return found.item() if not found.ndim and self.kind == across.kind == "number" else found

    def series(self, values: Any) -> Any:
        """Values as a Series with this leaf's index."""
        return _pandas().Series(values, index=self.index, name=self.name)


@dataclass(frozen=True, eq=False)
class Branch(Part):
    """A part that contains other parts."""

    children: tuple[Part, ...]

    @abstractmethod
    def split(self, x: Any, what: str) -> Sequence[Any]:
        """The parts of an x with this structure, in the order of the children."""

    @abstractmethod
    def joined(self, values: list[Any], *, for_j: bool) -> Any:
        """An object of this kind with other parts."""

    def read(self, x: Any, out: NDArray[np.float64], what: str) -> None:
        """Writes the numbers of each part to their places."""
        for child, part in zip(self.children, self.split(x, what), strict=True):
            child.read(part, out, what)

    def build(self, leaf: Callable[[Leaf], Any], *, for_j: bool) -> Any:
        """An object of this kind with the values of ``leaf`` in the leaves of its parts."""
        return self.joined([child.build(leaf, for_j=for_j) for child in self.children], for_j=for_j)

    def visit(self, given: Any, leaf: Callable[[Leaf, Any], None], what: str, *, pairs: bool = False) -> None:
        """Visits the values given for its parts; a single number, or pair of bounds, is used for all leaves."""
        if given is None:
            return
        if isinstance(given, Real) or (pairs and _is_pair(given)):
            for one in self.leaves():
                leaf(one, given)
            return
        for child, part in zip(self.children, self.split(given, what), strict=True):
            child.visit(part, leaf, what, pairs=pairs)

    def leaves(self) -> Iterable[Leaf]:
        """The leaves of its parts."""
        for child in self.children:
            yield from child.leaves()

    @property
    def parts(self) -> tuple[Any, ...]:
        """The user's own classes and objects in its parts."""
        return tuple(part for child in self.children for part in child.parts)

    @property
    def key(self) -> Any:
        """The branch's kind, and the keys of its parts."""
        return [type(self).__name__, *(child.key for child in self.children)]

    def _refused(self, x: Any, what: str, wanted: str) -> InputError:
        return InputError(f"{what}: {self.path or what} must be {wanted}, as in the first call (was {told(x)})")


def make_leaf(x: Any, path: str, counter: list[int], what: str) -> Leaf:
    """The leaf for a number, an array or a Series; takes the next free places and advances the counter."""
    if is_series(x):
        if not x.index.is_unique:
            raise InputError(
                f"{what}: {path or 'the Series'} has the name {first_repeated(list(x.index))!r} twice in its "
                "index; rename one"
            )
        array, kind = numbers_of(x.to_numpy(), f"{what}: {path or 'the Series'}"), "series"
        leaf = Leaf(path, counter[0], array.shape, kind, x.index.copy(), x.name)
    else:
        array = numbers_of(x, f"{what}: {path or ROOT}")
        kind = "scalar" if isinstance(x, np.generic) else "number" if isinstance(x, Real) else "array"
        leaf = Leaf(path, counter[0], array.shape, kind)
    counter[0] += leaf.size
    return leaf


def numbers_of(x: Any, what: str) -> NDArray[np.float64]:
    """An array of real numbers.

    Raises
    ------
    InputError
        If x is not an array of real numbers.
    """
    if x is not None:
        try:
            return real_array(x)
        except ValueError as error:
            raise InputError(f"{what} must be a real number or an array of them (was {told(x)}: {error})") from None
    raise InputError(f"{what} must be a real number or an array of them (was None)")


def _is_pair(given: Any) -> bool:
    """Whether this is a pair of numbers or Nones: bounds for all of a part."""
    limits = (Real, type(None))
    return (
        isinstance(given, tuple)
        and not is_namedtuple(given)
        and len(given) == 2
        and all(isinstance(one, limits) for one in given)
    )


def _pandas() -> Any:
    return importlib.import_module("pandas")


def first_repeated(labels: Sequence[Any]) -> Any:
    """The first label that occurs twice."""
    seen: set[Any] = set()
    return next(label for label in labels if label in seen or seen.add(label))  # type: ignore[func-returns-value]


def few(keys: Iterable[Any]) -> str:
    """Some keys as text; of many, the first six."""
    shown = [repr(key) for key in keys]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")


def told(x: Any) -> str:
    """The type of a value, and the beginning of its text."""
    text = repr(x)
    return f"{type(x).__name__} {text[:60]}{'...' if len(text) > 60 else ''}"
