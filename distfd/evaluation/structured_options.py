"""Options of derivatives that are given in the structure of x, such as a dict of steps: kept until x is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.structure import make_structure
from distfd.core.structure_kinds import has_labels, has_names, is_frame, is_named_series, is_series, is_structured
from distfd.core.structure_parts import few
from distfd.differentiation.steps import AbsoluteStep, MixedStep, NoiseStep, positive
from distfd.evaluation.options import DerivativeOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.core.structure import Structure


def split_options(  # noqa: PLR0917  # in the order of the Evaluator's
    scheme: Any, step: Any, scale: Any, bounds: Any, names: Sequence[str] | None, accuracy: float | None
) -> tuple[DerivativeOptions, dict[str, Any]]:
    """Options for a flat x, and those, by name, that wait for an x with a structure."""
    given = {"step": step, "scale": scale, "bounds": bounds}
    waiting = {name: value for name, value in given.items() if value is not None and _is_by_name(name, value)}
    plain = {name: None if name in waiting else value for name, value in given.items()}
    return DerivativeOptions(scheme, **plain, names=names, accuracy=accuracy), waiting


def _is_by_name(name: str, value: Any) -> bool:
    if isinstance(value, AbsoluteStep):
        return _is_by_name("step", value.h)
    if isinstance(value, NoiseStep) or hasattr(value, "lb"):
        return False
    return has_names(value) or (name != "bounds" and is_structured(value))


def are_flat_bounds(bounds: Any, d: int) -> bool:
    """Whether bounds are SciPy's, or d pairs of numbers, and not by the parts of an x with a structure."""
    if hasattr(bounds, "lb"):
        return True
    if isinstance(bounds, np.ndarray):
        return bool(bounds.shape[:1] == (d,))
    if not isinstance(bounds, (list, tuple)) or has_names(bounds):
        return False
    return len(bounds) == d and all(map(_is_pair, bounds))


def _is_pair(one: Any) -> bool:
    if isinstance(one, np.ndarray):
        return bool(one.shape == (2,))
    return one is None or (isinstance(one, (list, tuple)) and len(one) == 2 and not any(map(np.ndim, one)))


def without_names(options: DerivativeOptions, waiting: Mapping[str, Any]) -> tuple[DerivativeOptions, dict[str, Any]]:
    """The options for a flat x: a Series is its numbers then, in the order of ``names`` where these are given.

    A dict has the keys of ``names``. What is by name otherwise still waits.
    """
    given = {name: flat_numbers(name, value, options.names) for name, value in waiting.items()}
    found = {name: value for name, value in given.items() if value is not None}
    return replace(options, **found), {name: value for name, value in waiting.items() if name not in found}


def _structure_of(names: Sequence[str]) -> Structure:
    """A dict with these keys, for what is given by the names of an array."""
    return make_structure(dict.fromkeys(names, 0.0), "names")


def flat_numbers(what: str, value: Any, names: Sequence[str] | None) -> Any:
    """The numbers of a Series, of several, or of a step that holds one; with names of a dict too; else None."""
    if names is not None and isinstance(value.h if isinstance(value, AbsoluteStep) else value, Mapping):
        return _resolved(what, value, _structure_of(names))
    if isinstance(value, AbsoluteStep):
        numbers = flat_numbers(what, value.h, names)
        return None if numbers is None else type(value)(numbers)
    if is_series(value):
        return in_order_of(names, value, what).to_numpy()
    if isinstance(value, (list, tuple)) and all(map(is_series, value)):
        if names is not None and len(value) == 2 and all(set(map(str, one.index)) == set(names) for one in value):
            return list(zip(*(in_order_of(names, one, what) for one in value), strict=True))
        return np.array([one.to_numpy() for one in value])
    return None


def in_order_of(names: Sequence[str] | None, given: Any, what: str, *, columns_alone: bool = False) -> Any:
    """A Series or a DataFrame whose labels are the names of the coordinates, in their order, or a dict of them.

    Labels that are numbers, and anything but these two, stay as they are.

    Parameters
    ----------
    columns_alone : bool
        Whether the rows of a DataFrame are something else than coordinates.

    Raises
    ------
    InputError
        If it has other names than the coordinates have.
    """
    if names is not None and isinstance(given, Mapping):
        return _structure_of(names).flatten(given, what)
    if names is None or not (is_named_series(given) or is_frame(given)):
        return given
    axes = (given.index,) if is_series(given) else (given.index, given.columns)
    for axis, labels in enumerate(axes):
        if has_labels(labels) and not (columns_alone and axis == 0):
            there = {str(label): place for place, label in enumerate(labels)}
            if len(there) < len(labels) or set(there) != set(names):
                raise InputError(
                    f"{what}: has the names {few(labels)}, and x has {few(names)}; give it by the names of x"
                )
            given = given.take([there[name] for name in names], axis=axis)
    return given


def resolved_options(options: DerivativeOptions, waiting: Mapping[str, Any], structure: Structure) -> DerivativeOptions:
    """The options for flat numbers of such an x, with its names.

    Raises
    ------
    InputError
        If an option has another structure, or there are names beside those of the structure.
    """
    if options.names is not None and tuple(options.names) != structure.labels:
        raise InputError(
            f"names: x0 has names of its own, {_few(structure.labels)}; leave names out (was {list(options.names)!r})"
        )
    found = {name: _resolved(name, value, structure) for name, value in waiting.items()}
    if options.bounds is not None and not are_flat_bounds(options.bounds, structure.size):
        found["bounds"] = structure.bounds(options.bounds)
    return replace(options, names=structure.labels, **found)


def _resolved(name: str, value: Any, structure: Structure) -> Any:
    if name == "bounds":
        return structure.bounds(value)
    if isinstance(value, AbsoluteStep):
        sizes = structure.spread(name, value.h)
        return MixedStep(sizes) if np.isnan(sizes).any() else AbsoluteStep(sizes)
    sizes = structure.spread(name, value)
    bad = np.flatnonzero(~(np.isnan(sizes) | ((sizes > 0) & np.isfinite(sizes))))
    if len(bad):
        k = int(bad[0])
        raise InputError(f"{name}: {structure.labels[k]} must be finite and > 0 (was {sizes[k]})")
    return positive(name, sizes, gaps=True)


def flat_particulars(given: dict[str, Any], structure: Structure) -> dict[str, Any]:
    """What a kind of derivative needs beside x, in flat numbers: v, and directions as a sequence of structures."""
    found = dict(given)
    if is_structured(found.get("v")):
        found["v"] = structure.flatten(found["v"], "v")
    ways = found.get("directions")
    if isinstance(ways, (list, tuple)) and ways and all(map(is_structured, ways)):
        found["directions"] = np.array([structure.flatten(way, "directions") for way in ways])
    elif is_structured(ways):
        raise InputError("directions: must be a list of structures such as x0, or an array (p, d)")
    return found


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:6]) + (f" and {len(labels) - 6} more" if len(labels) > 6 else "")
