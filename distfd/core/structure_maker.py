"""Builds the description of a structure from an x: one class for each kind of container."""

from __future__ import annotations

import copy
import dataclasses
import importlib
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from distfd.core.errors import InputError
from distfd.core.structure_kinds import attributes_of, is_frame, is_namedtuple, is_series, library_of, one_level
from distfd.core.structure_parts import ROOT, Branch, Part, few, make_leaf, told
from distfd.core.validation import real_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from distfd.core.structure_parts import Leaf


def take_apart(x: Any, what: str, counter: list[int], *, dotted: bool) -> Part:
    """Splits an x into the parts of a structure.

    Parameters
    ----------
    x : object
    what : str
        The name of x in messages.
    counter : list of one int
        The next free place in the flat x; it is advanced.
    dotted : bool
        Whether keys of mappings are written with a dot; else they are written as in Python.

    Raises
    ------
    InputError
        If x contains anything but real numbers and arrays of them.
    """
    return _Maker(what, dotted, counter).part(x, "")


@dataclass(frozen=True)
class _Maker:
    """Splits an x into parts."""

    what: str
    dotted: bool
    """Whether keys of mappings are written with a dot; else they are written as in Python."""
    counter: list[int]
    """The next free place in the flat x."""

    def part(self, x: Any, path: str, around: tuple[int, ...] = ()) -> Part:
        """The part at this path; ``around`` has the ids of the objects that contain it."""
        if id(x) in around:
            raise InputError(f"{self.what}: {path} contains itself")
        inside = (*around, id(x))
        if x is None:
            return _Nothing(path, ())
        if is_series(x):
            return make_leaf(x, path, self.counter, self.what)
        if isinstance(x, Mapping) or is_namedtuple(x):
            return self._with_keys(x, path, inside)
        if isinstance(x, (list, tuple)):
            below = self._below(path, [f"[{k}]" if path else f"{ROOT}[{k}]" for k in range(len(x))], x, inside)
            return _Sequence(path, below, type(x))
        if is_frame(x):
            raise InputError(f"{self.what}: {path} is a DataFrame; give a dict of its columns, df.to_dict('series')")
        if hasattr(x, "__array__"):
            return make_leaf(x, path, self.counter, self.what)
        return self._of_class(x, path, inside)

    def _below(self, path: str, steps: Iterable[str], parts: Iterable[Any], inside: tuple[int, ...]) -> tuple[Any, ...]:
        return tuple(self.part(part, path + step, inside) for step, part in zip(steps, parts, strict=True))

    def _named(self, path: str, keys: Iterable[Any]) -> list[str]:
        if not self.dotted:
            return [f"[{key!r}]" for key in keys]
        return [f".{key}" if path else str(key) for key in keys]

    def _with_keys(self, x: Any, path: str, inside: tuple[int, ...]) -> Part:
        if not isinstance(x, Mapping):
            return _Sequence(path, self._below(path, self._named(path, x._fields), x, inside), type(x))
        keys, factory = tuple(x), x.default_factory if isinstance(x, defaultdict) else None
        below = self._below(path, self._named(path, keys), [x[key] for key in keys], inside)
        return _Mapping(path, below, keys, type(x), factory)

    def _of_class(self, x: Any, path: str, inside: tuple[int, ...]) -> Part:
        is_dataclass = dataclasses.is_dataclass(x) and not isinstance(x, type)
        if (library := library_of(x)) is not None:
            children, definition = one_level(library, x)
            attributes = attributes_of(library, x) if is_dataclass else None
            steps = [f"[{k}]" for k in range(len(children))] if attributes is None else self._named(path, attributes)
            try:
                template = definition.unflatten([0.0] * len(children))
            except Exception:
                template = x
            return _Registered(path, self._below(path, steps, children, inside), library, template, attributes)
        if is_dataclass:
            self._check_hidden(x, path)
            names = tuple(one.name for one in dataclasses.fields(x) if one.init)
            below = self._below(path, self._named(path, names), [getattr(x, name) for name in names], inside)
            return _Dataclass(path, below, type(x), names)
        return make_leaf(x, path, self.counter, self.what)

    def _check_hidden(self, x: Any, path: str) -> None:
        """Checks that a dataclass sets the numbers that are no arguments of its constructor as they are in x."""
        hidden = [one.name for one in dataclasses.fields(x) if not one.init and hasattr(x, one.name)]
        try:
            made = dataclasses.replace(x) if hidden else x
        except Exception:
            return  # the caller tells why x cannot be made again
        for name in hidden:
            given, found = getattr(x, name), getattr(made, name, None)
            if _are_other_numbers(given, found):
                raise InputError(
                    f"{self.what}: {path + '.' if path else ''}{name} is no argument of {type(x).__name__}, which "
                    f"sets it to {told(found)}, and not to {told(given)}: J would get the former; give a dict"
                )


@dataclass(frozen=True, eq=False)
class _Mapping(Branch):
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
                part = f"{self.path} " if self.path else ""
                raise InputError(f"{what}: {part}must have the keys {few(self.keys)}, and {word} {few(keys)}")

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
class _Sequence(Branch):
    numbered: ClassVar[bool] = True
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
class _Dataclass(Branch):
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
                raise InputError(f"{what}: {self.path or what} has no {few(strange)}; it has {few(self.names)}")
            for name, child in zip(self.names, self.children, strict=True):
                child.visit(given.get(name), leaf, what, pairs=pairs)
            return
        super().visit(given, leaf, what, pairs=pairs)

    def joined(self, values: list[Any], *, for_j: bool) -> Any:
        pairs = dict(zip(self.names, values, strict=True))
        if for_j:
            return self.cls(**pairs)
        # Do not run the class's own checks: they are meant for x, and a derivative may violate them.
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
class _Registered(Branch):
    """A container that JAX or optree knows.

    Attributes
    ----------
    library : "jax" or "optree"
    template : object
        A container of this class with zeros in it.
    names : tuple of str, or None
        The names of the attributes that hold the children, for a dataclass.
    """

    library: str
    template: Any
    names: tuple[str, ...] | None = None

    def split(self, x: Any, what: str) -> Sequence[Any]:
        if type(x) is not type(self.template):
            raise self._refused(x, what, f"a {type(self.template).__name__}")
        children = one_level(self.library, x)[0]
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
        children, definition = one_level(self.library, self.template)
        if len(children) == 1 and children[0] is self.template:
            if self.library != "jax" or not hasattr(cls, "tree_unflatten"):
                raise InputError(
                    f"x0: in this process {cls.__qualname__} is not registered with {self.library}; define it in a "
                    "module that registers it, not in __main__"
                )
            importlib.import_module("jax").tree_util.register_pytree_node_class(cls)
            definition = one_level(self.library, self.template)[1]
        return definition.unflatten(values)

    @property
    def key(self) -> Any:
        return [self.library, _name(type(self.template)), *(child.key for child in self.children)]

    @property
    def parts(self) -> tuple[Any, ...]:
        return (self.template, *super().parts)


@dataclass(frozen=True, eq=False)
class _Nothing(Branch):
    """None in the place of a part: it contains no numbers."""

    def split(self, x: Any, what: str) -> Sequence[Any]:
        if x is not None:
            raise self._refused(x, what, "None")
        return ()

    def joined(self, values: list[Any], *, for_j: bool) -> Any:  # noqa: ARG002  # there is nothing to join
        return None


def _are_other_numbers(given: Any, found: Any) -> bool:
    """Whether the first are numbers, and the second are not the same ones."""
    try:
        numbers = real_array(given)
    except ValueError:
        return False
    try:
        return not np.array_equal(numbers, real_array(found), equal_nan=True)
    except ValueError:
        return True


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
