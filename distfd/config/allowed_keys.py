"""The keys and words that the models allow at each place, for suggestions in messages."""

from __future__ import annotations

from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from distfd.config.section_base import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distfd.config.mistakes import KeyPath


def keys_at(model: type[Section], path: KeyPath) -> list[str]:
    """The keys of the mapping at this path."""
    return [key for leaf in _leaves_at(model, path) if _is_section(leaf) for key, _ in _fields(leaf)]


def words_at(model: type[Section], path: KeyPath) -> list[str]:
    """The words that are allowed as the value at this path."""
    return [str(word) for leaf in _leaves_at(model, path) if get_origin(leaf) is Literal for word in get_args(leaf)]


def key_paths(model: type[Section], above: KeyPath = ()) -> Iterator[KeyPath]:
    """Paths of all keys that are not inside a list."""
    for key, annotation in _fields(model):
        yield (*above, key)
        for leaf in _leaves(annotation):
            if _is_section(leaf):
                yield from key_paths(leaf, (*above, key))


def _leaves_at(model: type[Section], path: KeyPath) -> list[Any]:
    leaves: list[Any] = [model]
    for part in path:
        leaves = [below for leaf in leaves for annotation in _step(leaf, part) for below in _leaves(annotation)]
    return leaves


def _step(leaf: Any, part: str | int) -> list[Any]:
    """The annotations of what is under this key or number."""
    if _is_section(leaf):
        return [annotation for key, annotation in _fields(leaf) if key == part]
    if get_origin(leaf) is dict:
        return [get_args(leaf)[1]]
    return [get_args(leaf)[0]] if get_origin(leaf) is tuple else []


def _leaves(annotation: Any) -> Iterator[Any]:
    """The members of a union, without their metadata."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _leaves(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _leaves(member)
    else:
        yield annotation


def _fields(section: type[Section]) -> Iterator[tuple[str, Any]]:
    for name, field in section.model_fields.items():
        yield field.alias or name, field.annotation


def _is_section(leaf: Any) -> bool:
    return isinstance(leaf, type) and issubclass(leaf, Section)
