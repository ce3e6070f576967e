"""The structure of an x with names: flat numbers from it, and the same structure from flat numbers.

Dictionaries, lists, tuples, named tuples, dataclasses and pandas.Series are known here. Others, such as modules of
Equinox, are taken apart by JAX or optree where these have been imported and the class is registered with them.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import sys
from abc import ABC, abstractmethod
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

_PLAIN = frozenset({int, float, np.float64, np.float32, np.int64, np.int32})
"""Types of the elements of lists that are arrays; others are looked at one by one."""
_ROOT = "x0"
"""What an element is called that has no name of its own, as in a list."""


def is_structured(x: Any) -> bool:
    """Whether x is no array, and nothing that NumPy would make one from, but a structure of numbers or arrays."""
    if x is None or isinstance(x, (np.ndarray, Real, str, bytes)):
        return False
    if isinstance(x, (list, tuple)) and not _is_namedtuple(x):
        return any(_is_part(element) for element in x) if not set(map(type, x)) <= _PLAIN else False
    if isinstance(x, Mapping) or _is_namedtuple(x) or _is_named_series(x):
        return True
    if hasattr(x, "__array__"):
        return False
    return (dataclasses.is_dataclass(x) and not isinstance(x, type)) or _library_of(x) is not None


def has_names(given: Any) -> bool:
    """Whether an option of each coordinate is given in a structure with names, or as several of these.

    Elements of a list are looked at by their types: there may be a million pairs.
    """
    if not isinstance(given, (list, tuple)) or _is_namedtuple(given):
        return is_structured(given)
    firsts = {type(element): element for element in given}
    return any(has_names(one) for cls, one in firsts.items() if not issubclass(cls, (list, tuple, np.ndarray)))


def _is_part(element: Any) -> bool:
    """Whether an element of a list shows that the list is a structure."""
    return getattr(element, "ndim", 0) > 0 or is_structured(element)


def _is_namedtuple(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "_fields") and hasattr(x, "_make")


def is_series(x: Any) -> bool:
    """Whether x is a pandas.Series."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(x, pandas.Series)


def _is_named_series(x: Any) -> bool:
    """A column of a table with numbered rows is an array to its user: as a Series it would be sliced by its labels."""
    return is_series(x) and x.index.inferred_type == "string"


@dataclass(frozen=True, eq=False)
class _Part(ABC):
    """A structure, or something in one.

    Attributes
    ----------
    path : str
        What messages call it.
    """

    path: str

    @abstractmethod
    def read(self, x: Any, out: NDArray[np.float64], what: str) -> None:
        """Write the numbers of an x with this structure to their places."""

    @abstractmethod
    def build(self, leaf: Callable[[Leaf], Any], *, for_j: bool) -> Any:
        """The structure with what ``leaf`` gives for its leaves; ``for_j``: with the user's own constructors."""

    @abstractmethod
    def visit(self, given: Any, leaf: Callable[[Leaf, Any], None], what: str, *, pairs: bool = False) -> None:
        """Walk over something of this structure of which parts may be lacking, down to the leaves that it has.

        ``pairs``: whether two numbers stand for all of a part, as its bounds.
        """

    @abstractmethod
    def leaves(self) -> Iterable[Leaf]:
        """All leaves, in their order."""

    @property
    @abstractmethod
    def key(self) -> Any:
        """Plain data that is the same in every process for the same structure."""

    @property
    def parts(self) -> tuple[Any, ...]:
        """The user's own classes and objects in it."""
        return ()


@dataclass(frozen=True, eq=False)
class Leaf(_Part):
    """A number or an array.

    Attributes
    ----------
    start : int
        Where its numbers begin in the flat x.
    shape : tuple of int
    kind : "number", "scalar", "array" or "series"
        A Python number, one of NumPy's, an array of either, or a pandas.Series.
    index, name : optional
        Of a Series.
    """

    start: int
    shape: tuple[int, ...]
    kind: str
    index: Any = None
    name: Any = None

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def place(self) -> slice:
        """Where they are."""
        return slice(self.start, self.start + self.size)

    def read(self, x: Any, out: NDArray[np.float64], what: str) -> None:
        """Write its numbers to their place."""
        array = _numbers(self.aligned(x, what), f"{what}: {self.path}")
        if array.shape != self.shape:
            raise InputError(f"{what}: {self.path} must have shape {self.shape} (had {array.shape})")
        out[self.place] = array.ravel()

    def aligned(self, x: Any, what: str) -> Any:
        """A Series, or a mapping in its place, in the order of this one's index."""
        if self.kind != "series" or not (is_series(x) or isinstance(x, Mapping)):
            return x
        there, wanted = list(x.keys()), list(self.index)
        if len(there) != len(set(there)) or set(there) != set(wanted):
            raise InputError(f"{what}: {self.path} must have the index {_few(wanted)} (had {_few(there)})")
        return np.array([x[key] if isinstance(x, Mapping) else x.loc[key] for key in wanted])

    def build(self, leaf: Callable[[Leaf], Any], *, for_j: bool) -> Any:  # noqa: ARG002  # a leaf has no constructor
        """What ``leaf`` gives."""
        return leaf(self)

    def visit(self, given: Any, leaf: Callable[[Leaf, Any], None], what: str, *, pairs: bool = False) -> None:  # noqa: ARG002
        """Come to it."""
        if given is not None:
            leaf(self, given)

    def leaves(self) -> Iterable[Leaf]:
        """Itself."""
        yield self

    @property
    def key(self) -> Any:
        """Its kind, shape and index."""
        return [self.kind, list(self.shape), None if self.index is None else list(map(repr, self.index))]

    @property
    def labels(self) -> list[str]:
        """What its numbers are called."""
        if self.kind == "series":
            return [f"{self.path}.{key}" if self.path else str(key) for key in self.index]
        path = self.path or _ROOT
        if not self.shape:
            return [path]
        if len(self.shape) == 1:
            return [f"{path}[{k}]" for k in range(self.shape[0])]
        return [f"{path}[{', '.join(map(str, at))}]" for at in np.ndindex(*self.shape)]

    def value(self, vector: NDArray[Any]) -> Any:
        """What J gets here, of the type that x0 had; integers have become floats."""
        part = vector[self.place]
        if self.kind == "series":
            return self.series(part.copy())
        if self.shape:
            return part.reshape(self.shape).copy()
        return part[0].item() if self.kind == "number" else part[0] if self.kind == "scalar" else np.array(part[0])

    def shaped(self, array: Any) -> Any:
        """Results with this leaf's numbers along the last axis: (..., *shape), or a sparse array as it is."""
        if not isinstance(array, np.ndarray):
            return array
        if self.kind == "series" and array.ndim == 1:
            return self.series(array.copy())
        if self.kind == "series" and array.ndim == 2:
            return _pandas().DataFrame(array.copy(), columns=self.index)
        found = array.reshape((*array.shape[:-1], *self.shape)).copy()
        return found.item() if not found.ndim and self.kind == "number" else found

    def block(self, across: Leaf, array: Any) -> Any:
        """Results with one leaf's numbers as rows and another's as columns: (*shape, *across.shape)."""
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
        """Values with this leaf's index."""
        return _pandas().Series(values, index=self.index, name=self.name)


@dataclass(frozen=True, eq=False)
class _Branch(_Part):
    """Something with parts."""

    children: tuple[_Part, ...]

    @abstractmethod
    def split(self, x: Any, what: str) -> Sequence[Any]:
        """The parts of an x with this structure, in the order of the children."""

    @abstractmethod
    def joined(self, values: list[Any], *, for_j: bool) -> Any:
        """The same with other parts."""

    def read(self, x: Any, out: NDArray[np.float64], what: str) -> None:
        for child, part in zip(self.children, self.split(x, what), strict=True):
            child.read(part, out, what)

    def build(self, leaf: Callable[[Leaf], Any], *, for_j: bool) -> Any:
        return self.joined([child.build(leaf, for_j=for_j) for child in self.children], for_j=for_j)

    def visit(self, given: Any, leaf: Callable[[Leaf, Any], None], what: str, *, pairs: bool = False) -> None:
        if given is None:
            return
        if isinstance(given, Real) or (pairs and _is_pair(given)):
            for one in self.leaves():
                leaf(one, given)
            return
        for child, part in zip(self.children, self.split(given, what), strict=True):
            child.visit(part, leaf, what, pairs=pairs)

    def leaves(self) -> Iterable[Leaf]:
        for child in self.children:
            yield from child.leaves()

    @property
    def parts(self) -> tuple[Any, ...]:
        return tuple(part for child in self.children for part in child.parts)

    @property
    def key(self) -> Any:
        return [type(self).__name__, *(child.key for child in self.children)]

    def _refused(self, x: Any, what: str, wanted: str) -> InputError:
        return InputError(f"{what}: {self.path or what} must be {wanted}, as in the first call (was {_told(x)})")


@dataclass(frozen=True, eq=False)
class _Mapping(_Branch):
    keys: tuple[Any, ...]
    cls: Any
    factory: Any = None

    def split(self, x: Any, what: str) -> Sequence[Any]:
        if not (isinstance(x, Mapping) or is_series(x)):
            raise self._refused(x, what, f"a {self.cls.__name__}")
        self._check(x, what, lacking=True)
        return [x[key] for key in self.keys]

    def _check(self, x: Any, what: str, *, lacking: bool) -> None:
        there = list(x.keys())
        foreign = [key for key in there if key not in self.keys]
        absent = [key for key in self.keys if key not in there] if lacking else []
        for word, keys in (("lacks", absent), ("has besides", foreign)):
            if keys:
                raise InputError(
                    f"{what}: {self.path or what} must have the keys {_few(self.keys)}, and {word} {_few(keys)}"
                )

    def visit(self, given: Any, leaf: Callable[[Leaf, Any], None], what: str, *, pairs: bool = False) -> None:
        if not isinstance(given, Mapping):
            super().visit(given, leaf, what, pairs=pairs)
            return
        self._check(given, what, lacking=False)
        for key, child in zip(self.keys, self.children, strict=True):
            child.visit(given.get(key), leaf, what, pairs=pairs)

    def joined(self, values: list[Any], *, for_j: bool) -> Any:  # noqa: ARG002  # the same for both
        pairs = dict(zip(self.keys, values, strict=True))
        if self.cls is dict:
            return pairs
        return defaultdict(self.factory, pairs) if self.cls is defaultdict else self.cls(pairs)

    @property
    def key(self) -> Any:
        return ["mapping", _name(self.cls), *([repr(k), c.key] for k, c in zip(self.keys, self.children, strict=True))]

    @property
    def parts(self) -> tuple[Any, ...]:
        own = () if self.cls in (dict, OrderedDict, defaultdict) else (self.cls,)
        return *own, *super().parts


@dataclass(frozen=True, eq=False)
class _Sequence(_Branch):
    cls: Any

    def split(self, x: Any, what: str) -> Sequence[Any]:
        if not isinstance(x, (list, tuple)) or len(x) != len(self.children):
            raise self._refused(x, what, f"a {self.cls.__name__} of {len(self.children)}")
        return x

    def joined(self, values: list[Any], *, for_j: bool) -> Any:  # noqa: ARG002  # the same for both
        return self.cls._make(values) if hasattr(self.cls, "_make") else self.cls(values)

    @property
    def key(self) -> Any:
        return [_name(self.cls), *(child.key for child in self.children)]

    @property
    def parts(self) -> tuple[Any, ...]:
        return (() if self.cls in (list, tuple) else (self.cls,)) + super().parts


@dataclass(frozen=True, eq=False)
class _Dataclass(_Branch):
    cls: Any
    names: tuple[str, ...]

    def split(self, x: Any, what: str) -> Sequence[Any]:
        if not isinstance(x, self.cls):
            raise self._refused(x, what, f"a {self.cls.__name__}")
        return [getattr(x, name) for name in self.names]

    def visit(self, given: Any, leaf: Callable[[Leaf, Any], None], what: str, *, pairs: bool = False) -> None:
        if isinstance(given, Mapping):
            strange = [key for key in given if key not in self.names]
            if strange:
                raise InputError(f"{what}: {self.path or what} has no {_few(strange)}; it has {_few(self.names)}")
            for name, child in zip(self.names, self.children, strict=True):
                child.visit(given.get(name), leaf, what, pairs=pairs)
            return
        super().visit(given, leaf, what, pairs=pairs)

    def joined(self, values: list[Any], *, for_j: bool) -> Any:
        pairs = dict(zip(self.names, values, strict=True))
        if for_j:
            return self.cls(**pairs)
        # A derivative need not be what the class's own checks want of x.
        made = object.__new__(self.cls)
        for one in dataclasses.fields(self.cls):
            object.__setattr__(made, one.name, pairs.get(one.name))
        return made

    @property
    def key(self) -> Any:
        return [_name(self.cls), *([n, c.key] for n, c in zip(self.names, self.children, strict=True))]

    @property
    def parts(self) -> tuple[Any, ...]:
        return (self.cls, *super().parts)


@dataclass(frozen=True, eq=False)
class _Foreign(_Branch):
    """A node that JAX or optree know.

    Attributes
    ----------
    library : "jax" or "optree"
    template : object
        One of them with zeros in it.
    names : tuple of str, or None
        The attributes that its children are, of a dataclass.
    """

    library: str
    template: Any
    names: tuple[str, ...] | None = None

    def split(self, x: Any, what: str) -> Sequence[Any]:
        if type(x) is not type(self.template):
            raise self._refused(x, what, f"a {type(self.template).__name__}")
        children = _level(self.library, x)[0]
        if len(children) != len(self.children):
            raise self._refused(x, what, f"a {type(x).__name__} with {len(self.children)} parts")
        return children

    def joined(self, values: list[Any], *, for_j: bool) -> Any:  # noqa: ARG002  # what is registered serves both
        if self.names is not None:
            made = copy.copy(self.template)
            for name, value in zip(self.names, values, strict=True):
                object.__setattr__(made, name, value)
            return made
        cls = type(self.template)
        children, definition = _level(self.library, self.template)
        if len(children) == 1 and children[0] is self.template:
            if self.library != "jax" or not hasattr(cls, "tree_unflatten"):
                raise InputError(
                    f"x0: in this process {cls.__qualname__} is not registered with {self.library}; define it in a "
                    "module that registers it, not in __main__"
                )
            importlib.import_module("jax").tree_util.register_pytree_node_class(cls)
            definition = _level(self.library, self.template)[1]
        return definition.unflatten(values)

    @property
    def key(self) -> Any:
        return [self.library, _name(type(self.template)), *(child.key for child in self.children)]

    @property
    def parts(self) -> tuple[Any, ...]:
        return (self.template, *super().parts)


@dataclass(frozen=True, eq=False)
class Structure:
    """How the numbers of an x are arranged.

    Attributes
    ----------
    root : object
        Its parts.
    size : int
        d, how many numbers it has.
    labels : tuple of str
        What each of them is called: ``k``, ``layer.w[0, 1]``.
    """

    root: _Part
    size: int
    labels: tuple[str, ...]

    def flatten(self, x: Any, what: str = _ROOT) -> NDArray[np.float64]:
        """The numbers of an x of this structure, (d,).

        Raises
        ------
        InputError
            If it has another structure: other keys, another shape.
        """
        out = np.empty(self.size)
        self.root.read(x, out, what)
        return out

    def unflatten(self, vector: NDArray[Any]) -> Any:
        """What J gets for a flat x (d,)."""
        return self.root.build(lambda leaf: leaf.value(vector), for_j=True)

    def arranged(self, array: Any) -> Any:
        """Results of which the last axis has d entries, as this structure: of a leaf (..., *shape)."""
        return self.root.build(lambda leaf: leaf.shaped(array[..., leaf.place]), for_j=False)

    def columns(self, matrix: Any) -> Any:
        """A Jacobian (m, d) as this structure: of a leaf (m, *shape), or, of a sparse one, its columns."""
        return self.root.build(lambda leaf: leaf.shaped(matrix[:, leaf.place]), for_j=False)

    def blocks(self, matrix: Any) -> Any:
        """A Hessian (d, d) as this structure of this structure: of two leaves (*shape, *shape)."""

        def row(leaf: Leaf) -> Any:
            rows = matrix[leaf.place]
            return self.root.build(lambda across: leaf.block(across, rows[:, across.place]), for_j=False)

        return self.root.build(row, for_j=False)

    def spread(self, what: str, given: Any) -> NDArray[np.float64]:
        """One number for each coordinate, (d,), from such a structure; NaN where it says nothing.

        A part may be lacking or None, and one number stands for all of a part.
        """
        out = np.full(self.size, np.nan)

        def put(leaf: Leaf, value: Any) -> None:
            out[leaf.place] = _fitted(leaf, value, what)

        self.root.visit(given, put, what)
        return out

    def bounds(self, given: Any) -> list[tuple[float, float]]:
        """Pairs, d of them, from a structure of pairs (lower, upper), or a pair of structures.

        A part may be lacking or None. The bounds of an array are a pair, each a number or an array of its shape.
        """
        lower, upper = np.full(self.size, -np.inf), np.full(self.size, np.inf)

        def put(leaf: Leaf, value: Any) -> None:
            if leaf.kind == "series" and isinstance(value, Mapping):
                rows = [value.get(key, (None, None)) for key in leaf.index]
                value = tuple(np.array([_limit(row[k], s) for row in rows]) for k, s in enumerate((-np.inf, np.inf)))
            if leaf.shape == (2,) and isinstance(value, (tuple, list)) and all(map(_is_pair_of_numbers, value)):
                raise InputError(
                    f"bounds: {leaf.path or _ROOT} has two numbers, and {_told(value)} may be read as (lower, upper) "
                    "and as a pair for each: give (lower, upper) with arrays, np.array([...])"
                )
            if not isinstance(value, (tuple, list)) or len(value) != 2:
                raise InputError(f"bounds: {leaf.path or _ROOT} must be a pair (lower, upper) (was {_told(value)})")
            for out, limit in zip((lower, upper), value, strict=True):
                if limit is not None:
                    out[leaf.place] = _fitted(leaf, limit, "bounds")

        if isinstance(given, (tuple, list)) and len(given) == 2 and any(map(self._is_one, given)):
            for out, limits in zip((lower, upper), given, strict=True):
                found = self.spread("bounds", limits)
                out[~np.isnan(found)] = found[~np.isnan(found)]
        else:
            self.root.visit(given, put, "bounds", pairs=True)
        return list(zip(lower.tolist(), upper.tolist(), strict=True))

    def _is_one(self, given: Any) -> bool:
        """Whether one of two things is a structure such as this, so that they are lower and upper bounds."""
        return not isinstance(self.root, _Sequence) and is_structured(given)

    @cached_property
    def parts(self) -> tuple[Any, ...]:
        """The user's own classes and objects in it, on which J's value depends."""
        return self.root.parts

    @property
    def key(self) -> Any:
        """Plain data that is the same in every process for the same structure."""
        return self.root.key


def make_structure(x: Any, what: str = _ROOT) -> Structure:
    """The structure of an x.

    Raises
    ------
    InputError
        If there is anything in it but real numbers and arrays of them, or nothing at all.
    """
    for dotted in (True, False):
        counter = [0]
        root = _Maker(what, dotted, counter).part(x, "")
        labels = tuple(label for leaf in root.leaves() for label in leaf.labels)
        if len(set(labels)) == len(labels):
            break
    else:
        raise InputError(f"{what}: two of its numbers have the same name, {_twice(labels)!r}; rename one")
    if not labels:
        raise InputError(f"{what}: has no numbers in it (was {_told(x)})")
    structure = Structure(root, counter[0], labels)
    flat = structure.flatten(x, what)
    try:
        structure.unflatten(flat)
    except Exception as error:
        raise InputError(
            f"{what}: a {type(x).__name__} could not be made again from its numbers "
            f"({type(error).__name__}: {error}); give a dict"
        ) from error
    return structure


@dataclass(frozen=True)
class _Maker:
    """Takes an x apart."""

    what: str
    dotted: bool
    """Whether keys of mappings are written with a dot, else as in Python."""
    counter: list[int]
    """The first place that is free."""

    def part(self, x: Any, path: str, around: tuple[int, ...] = ()) -> _Part:
        """What stands at this path; ``around`` are the objects that it is in."""
        if id(x) in around:
            raise InputError(f"{self.what}: {path} contains itself")
        inside = (*around, id(x))
        if x is None:
            return _Nothing(path, ())
        if is_series(x):
            return _leaf(x, path, self.counter, self.what)
        if isinstance(x, Mapping) or _is_namedtuple(x):
            return self._with_keys(x, path, inside)
        if isinstance(x, (list, tuple)):
            below = self._below(path, [f"[{k}]" if path else f"{_ROOT}[{k}]" for k in range(len(x))], x, inside)
            return _Sequence(path, below, type(x))
        if hasattr(x, "__array__"):
            return _leaf(x, path, self.counter, self.what)
        return self._of_class(x, path, inside)

    def _below(self, path: str, steps: Iterable[str], parts: Iterable[Any], inside: tuple[int, ...]) -> tuple[Any, ...]:
        return tuple(self.part(part, path + step, inside) for step, part in zip(steps, parts, strict=True))

    def _named(self, path: str, keys: Iterable[Any]) -> list[str]:
        if not self.dotted:
            return [f"[{key!r}]" for key in keys]
        return [f".{key}" if path else str(key) for key in keys]

    def _with_keys(self, x: Any, path: str, inside: tuple[int, ...]) -> _Part:
        if not isinstance(x, Mapping):
            return _Sequence(path, self._below(path, self._named(path, x._fields), x, inside), type(x))
        keys, factory = tuple(x), x.default_factory if isinstance(x, defaultdict) else None
        below = self._below(path, self._named(path, keys), [x[key] for key in keys], inside)
        return _Mapping(path, below, keys, type(x), factory)

    def _of_class(self, x: Any, path: str, inside: tuple[int, ...]) -> _Part:
        is_dataclass = dataclasses.is_dataclass(x) and not isinstance(x, type)
        if (library := _library_of(x)) is not None:
            children, definition = _level(library, x)
            attributes = _attributes(library, x) if is_dataclass else None
            steps = [f"[{k}]" for k in range(len(children))] if attributes is None else self._named(path, attributes)
            try:
                template = definition.unflatten([0.0] * len(children))
            except Exception:
                template = x
            return _Foreign(path, self._below(path, steps, children, inside), library, template, attributes)
        if is_dataclass:
            names = tuple(one.name for one in dataclasses.fields(x) if one.init)
            below = self._below(path, self._named(path, names), [getattr(x, name) for name in names], inside)
            return _Dataclass(path, below, type(x), names)
        return _leaf(x, path, self.counter, self.what)


def _leaf(x: Any, path: str, counter: list[int], what: str) -> Leaf:
    if is_series(x):
        if not x.index.is_unique:
            raise InputError(f"{what}: {path or 'the Series'} has an index in which {_twice(list(x.index))!r} is twice")
        array, kind = _numbers(x.to_numpy(), f"{what}: {path or 'the Series'}"), "series"
        leaf = Leaf(path, counter[0], array.shape, kind, x.index.copy(), x.name)
    else:
        array = _numbers(x, f"{what}: {path or _ROOT}")
        kind = "scalar" if isinstance(x, np.generic) else "number" if isinstance(x, Real) else "array"
        leaf = Leaf(path, counter[0], array.shape, kind)
    counter[0] += leaf.size
    return leaf


@dataclass(frozen=True, eq=False)
class _Nothing(_Branch):
    """None in the place of a part: there are no numbers in it."""

    def split(self, x: Any, what: str) -> Sequence[Any]:
        if x is not None:
            raise self._refused(x, what, "None")
        return ()

    def joined(self, values: list[Any], *, for_j: bool) -> Any:  # noqa: ARG002  # there is nothing to join
        return None


def _library_of(x: Any) -> str | None:
    """Which library takes an object apart, of those that are imported."""
    for library in ("jax", "optree"):
        if library in sys.modules:
            children, _ = _level(library, x)
            if not (len(children) == 1 and children[0] is x):
                return library
    return None


def _level(library: str, x: Any) -> tuple[list[Any], Any]:
    """The parts of an object one level down, and how to make it from others."""
    module = importlib.import_module(library)
    flatten = module.tree_util.tree_flatten if library == "jax" else module.tree_flatten
    children, definition = flatten(x, is_leaf=lambda y: y is not x)
    return list(children), definition


def _attributes(library: str, x: Any) -> tuple[str, ...] | None:
    """The attributes that the parts are, where JAX says so."""
    if library != "jax":
        return None
    tree = importlib.import_module("jax").tree_util
    found, _ = tree.tree_flatten_with_path(x, is_leaf=lambda y: y is not x)
    keys: list[Any] = [path[0] if path else None for path, _ in found]
    return tuple(key.name for key in keys) if all(isinstance(key, tree.GetAttrKey) for key in keys) else None


def _numbers(x: Any, what: str) -> NDArray[np.float64]:
    """An array of real numbers.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        array = np.asarray(x)
    except (TypeError, ValueError):
        array = np.array(None)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{what} must be a real number or an array of them (was {_told(x)})")
    return array.astype(np.float64)


def _fitted(leaf: Leaf, value: Any, what: str) -> NDArray[np.float64]:
    """Numbers for a leaf, from one or as many."""
    where = f"{what}: {leaf.path or _ROOT}"
    array = _numbers(leaf.aligned(value, what), where)
    if array.shape not in ((), leaf.shape):
        raise InputError(f"{where} must be a number or have shape {leaf.shape} (had {array.shape})")
    return np.broadcast_to(array, leaf.shape).ravel()


def _is_pair(given: Any) -> bool:
    """Whether it is two numbers or Nones: bounds for all of a part."""
    limits = (Real, type(None))
    return (
        isinstance(given, tuple)
        and not _is_namedtuple(given)
        and len(given) == 2
        and all(isinstance(one, limits) for one in given)
    )


def _is_pair_of_numbers(given: Any) -> bool:
    return isinstance(given, (tuple, list)) and len(given) == 2


def _limit(given: Any, none: float) -> float:
    return none if given is None else float(given)


def _pandas() -> Any:
    return importlib.import_module("pandas")


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _twice(labels: Sequence[Any]) -> Any:
    seen: set[Any] = set()
    return next(label for label in labels if label in seen or seen.add(label))  # type: ignore[func-returns-value]


def _few(keys: Iterable[Any]) -> str:
    shown = [repr(key) for key in keys]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")


def _told(x: Any) -> str:
    text = repr(x)
    return f"{type(x).__name__} {text[:60]}{'...' if len(text) > 60 else ''}"
