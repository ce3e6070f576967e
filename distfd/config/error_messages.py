"""Translates pydantic's errors into distfd's words, each with its place in the file."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from distfd.config.mistakes import ENVIRONMENT, KeyPath, Mistake, is_secret, nearest, shown, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import ValidationError

    from distfd.config.section_base import Section
    from distfd.config.yaml_document import Document

_TEXTS = {
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping {{key: value}}",
    "model_type": "must be a mapping {{key: value}}",
    "finite_number": "must be a finite number",
    "greater_than": "must be > {gt:g}",
    "greater_than_equal": "must be >= {ge:g}",
    "less_than": "must be < {lt:g}",
    "less_than_equal": "must be <= {le:g}",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}
_MOST_TRANSLATED = 300
"""Largest number of errors that are translated, many more than are shown: a 10 MB file can have a million of them."""
_UNION_TAGS = ("<mapping>", "<list>", "<text>", "<flag>", "<number>", "<other>")
"""See `distfd.config.field_types.kind_of`."""
_WORDS_FOR_TRUE = ("on", "yes", "y", "1")
_WORDS_FOR_FALSE = ("off", "no", "n", "0")


def translated(error: ValidationError, document: Document, model: type[Section]) -> Iterator[Mistake]:
    """One mistake for each of pydantic's errors, the first hundreds of them."""
    from distfd.config.allowed_keys import words_at

    for detail in error.errors(include_url=False)[:_MOST_TRANSLATED]:
        path, at_key = _path(detail["loc"])
        kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
        match kind:
            case "missing":
                yield document.mistake(path, "is missing")
            case "extra_forbidden":
                meant = _meant_key(path, model)
                meant = _meant_executor(path, given) or meant
                told = "" if is_secret(path) or meant == shown_path(ENVIRONMENT) else shown(given)
                yield document.mistake(path, "unknown key", told, meant, key=True)
            case "conflict" | "no_choice":
                yield _choice_mistake(document, path, kind, context)
            case "literal_error":
                words = words_at(model, path)
                near = nearest(given, words) if isinstance(given, str) else ""
                yield document.mistake(path, f"must be one of {', '.join(words)}", shown(given), near)
            case "too_short" if given:
                # Pydantic counts the valid items here; the invalid ones have errors of their own.
                continue
            case _:
                text = _TEXTS[kind].format(**context) if kind in _TEXTS else context.get("text", detail["msg"])
                suggestion = context.get("suggestion") or _as_argv(given, path) or _suggestion(kind, given)
                there = _is_there(document.data, path)
                if is_secret(path) and there and not at_key:
                    # Values of environment variables may be secret, and messages end up in logs.
                    there, suggestion = False, "it in quotes" if kind == "string_type" else ""
                yield document.mistake(path, text, shown(given) if there else "", suggestion, key=at_key)


def _path(loc: tuple[str | int, ...]) -> tuple[KeyPath, bool]:
    """The path without the names of union members, and whether the error is about the last key itself."""
    path = tuple(part for part in loc if part not in _UNION_TAGS)
    return (path[:-1], True) if path[-1:] == ("[key]",) else (path, False)


def _is_there(data: Any, path: KeyPath) -> bool:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _choice_mistake(document: Document, path: KeyPath, kind: str, context: dict[str, Any]) -> Mistake:
    if kind == "no_choice":
        return document.mistake(path, f"exactly one of {context['names']} is needed", key=True)
    others = context["given"][:-1]
    text = f"exactly one of {context['names']} is allowed, and {' and '.join(others)} is given too"
    mistake = document.mistake(path, text, key=True)
    if mistake.where.startswith("override "):
        unset = " ".join(f"{shown_path((*path[:-1], other))}=null" for other in others)
        return document.mistake(path, f"{text}; to replace it add {unset}", key=True)
    return mistake


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # an unmatched quote
        return command.split()


def _as_argv(given: Any, path: KeyPath) -> str:
    """A command that was written as one text, in the form of argv."""
    if not isinstance(given, str) or (path[-1:] != ("argv",) and path != ("objective", "command")):
        return ""
    words = f"[{', '.join(map(shown, _words(given)))}]"
    return words if path[-1] == "argv" else f"{{argv: {words}, ...}}"


def _suggestion(kind: str, given: Any) -> str:
    if kind in ("float_type", "int_type", "int_from_float", "distfd") and isinstance(given, str):
        return meant_number(given)
    if kind == "string_type" and isinstance(given, (int, float)):
        return f'"{shown(given)}", in quotes'
    if kind == "bool_type" and str(given).lower() in (*_WORDS_FOR_TRUE, *_WORDS_FOR_FALSE):
        return "true" if str(given).lower() in _WORDS_FOR_TRUE else "false"
    if kind in ("int_type", "int_from_float") and isinstance(given, float) and given.is_integer():
        return str(int(given))
    if kind in ("tuple_type", "list_type") and isinstance(given, (str, int, float)) and given != "":
        return f"[{shown(given)}]"
    return ""


_SUFFIXES = {"t": 12, "g": 9, "meg": 6, "k": 3, "m": -3, "u": -6, "µ": -6, "μ": -6, "n": -9, "p": -12, "f": -15}
"""Powers of ten for suffixes of numbers in SPICE."""
_SUFFIXED = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+))(?:e([-+]?\d{1,3}))?\s*([a-zµμ]{1,12})", re.IGNORECASE)


def meant_number(text: str) -> str:
    """A number with a SPICE suffix or a unit, as YAML; both readings if it is ambiguous, "" if it is no number."""
    found = _SUFFIXED.fullmatch(text.strip())
    if not found:
        return ""
    digits, exponent, rest = found[1], int(found[2] or 0), found[3]
    if rest == "M":
        milli, mega = (f"{digits}e{exponent + power}" for power in (-3, 6))
        return f"{mega} (mega) or {milli} (SPICE reads M as milli)"
    word = rest.lower()
    suffix = "meg" if word.startswith("meg") else word[0]
    if suffix not in _SUFFIXES or (len(word) > len(suffix) and word[len(suffix) :] not in _UNITS):
        return f"{digits}e{exponent}, a number without a unit" if word in _UNITS else ""
    return f"{digits}e{exponent + _SUFFIXES[suffix]}"


_UNITS = ("a", "f", "h", "v", "w", "s", "m", "hz", "ohm", "ohms", "pa", "n", "j", "k", "kg")
"""Units behind a number, and behind a suffix."""

_NO_RAY = ("executor", "ray", "local", "serial", "parallel", "workers", "slots", "n_jobs", "n_workers", "jobs", "cores")
"""Keys that people try for the number of simultaneous evaluations, or for a run without Ray."""


def _meant_executor(path: KeyPath, given: Any) -> str:
    """The right key for one that asks for a run without Ray, or for a number of simultaneous evaluations."""
    if path[-1] not in _NO_RAY or len(path) > 2 or (len(path) == 2 and path[0] not in ("cluster", "evaluation")):
        return ""
    word = path[-1]
    alone = given == "serial" or (isinstance(given, bool) and given is (word in ("local", "serial")))
    if alone or (isinstance(given, int) and not isinstance(given, bool) and given in (0, 1)):
        return "cluster.address: serial, which runs one evaluation after the other without Ray"
    if isinstance(given, int) and not isinstance(given, bool) and given > 1:
        return "cluster.max_slots, the most evaluations at a time"
    return ""


def _meant_key(path: KeyPath, model: type[Section]) -> str:
    """The whole path of the key that an unknown key probably means: a similar one, or the same in another section."""
    from distfd.config.allowed_keys import key_paths, keys_at

    word = str(path[-1])
    near = nearest(word, keys_at(model, path[:-1]))
    if near:
        return shown_path((*path[:-1], near))
    elsewhere = sorted((known for known in key_paths(model) if known[-1] == word), key=len)
    clear = len(elsewhere) == 1 or len({len(known) for known in elsewhere[:2]}) == 2
    return shown_path(elsewhere[0]) if clear else ""
