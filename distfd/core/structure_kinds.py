"""Recognises structures and their classes, and asks JAX and optree about classes that are registered with them."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

import numpy as np

_PLAIN = frozenset({int, float, np.float64, np.float32, np.int64, np.int32})
"""Element types of lists that are plain arrays; elements of other types are examined one by one."""


def is_structured(x: Any) -> bool:
    """Whether x is a structure of numbers or arrays, and neither an array nor convertible to one by NumPy."""
    if x is None or isinstance(x, (np.ndarray, Real, str, bytes)):
        return False
    if isinstance(x, (list, tuple)) and not is_namedtuple(x):
        return any(_is_part(element) for element in x) if not set(map(type, x)) <= _PLAIN else False
    if isinstance(x, Mapping) or is_namedtuple(x) or is_named_series(x):
        return True
    if hasattr(x, "__array__"):
        return False
    return (dataclasses.is_dataclass(x) and not isinstance(x, type)) or library_of(x) is not None


def has_names(given: Any) -> bool:
    """Whether an option with a value for each coordinate is given as a structure with names, or as several of them.

    Elements of a list are examined by type only, as there may be a million pairs.
    """
    if not isinstance(given, (list, tuple)) or is_namedtuple(given):
        return is_structured(given)
    firsts = {type(element): element for element in given}
    return any(has_names(one) for cls, one in firsts.items() if not issubclass(cls, (list, tuple, np.ndarray)))


def _is_part(element: Any) -> bool:
    """Whether an element of a list proves that the list is a structure."""
    return getattr(element, "ndim", 0) > 0 or is_structured(element)


def is_namedtuple(x: Any) -> bool:
    """Whether x is a named tuple."""
    return isinstance(x, tuple) and hasattr(x, "_fields") and hasattr(x, "_make")


def is_series(x: Any) -> bool:
    """Whether x is a pandas.Series."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(x, pandas.Series)


def is_named_series(x: Any) -> bool:
    """Whether x is a Series with labels; one with rows that have numbers or dates is an array to its user.

    Treated as a Series, it would be sliced by its labels.
    """
    return is_series(x) and has_labels(x.index)


def has_labels(index: Any) -> bool:
    """Whether an index of pandas has names in it: strings, tuples (as a MultiIndex has) or other objects."""
    names = index.categories if index.inferred_type == "categorical" else index
    return names.inferred_type in ("string", "mixed", "mixed-integer")


def is_frame(x: Any) -> bool:
    """Whether x is a pandas.DataFrame."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(x, pandas.DataFrame)


def library_of(x: Any) -> str | None:
    """The library, among the imported ones, that can split an object."""
    if isinstance(x, Iterator):
        return None  # JAX warns of one, and will raise an error
    for library in ("jax", "optree"):
        if library in sys.modules:
            children, _ = one_level(library, x)
            if not (len(children) == 1 and children[0] is x):
                return library
    return None


def one_level(library: str, x: Any) -> tuple[list[Any], Any]:
    """The parts of an object one level down, and a function that makes the object from other parts."""
    module = importlib.import_module(library)
    flatten = module.tree_util.tree_flatten if library == "jax" else module.tree_flatten
    children, definition = flatten(x, is_leaf=lambda y: y is not x)
    return list(children), definition


def attributes_of(library: str, x: Any) -> tuple[str, ...] | None:
    """The names of the attributes that hold the parts, if JAX knows them."""
    if library != "jax":
        return None
    tree = importlib.import_module("jax").tree_util
    found, _ = tree.tree_flatten_with_path(x, is_leaf=lambda y: y is not x)
    keys: list[Any] = [path[0] if path else None for path, _ in found]
    return tuple(key.name for key in keys) if all(isinstance(key, tree.GetAttrKey) for key in keys) else None
