"""Reads the description of a program's output in the configuration: ``{file: F, json: /pointer}``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.files import at_home
from distfd.objectives.command.csv_cell import CsvCell
from distfd.objectives.command.data_files import LIBRARIES, LibraryArray
from distfd.objectives.command.extractors import Columns, Extractor, JsonPointer, NpyElement, Regex, Token
from distfd.objectives.command.user_function import UserFunction
from distfd.objectives.command.value_parts import times_of
from distfd.objectives.command.values import OutputError, as_value, reading_within
from distfd.objectives.command.work_directory import inside

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from distfd.objectives.command.values import Value


_TABLE = ("row", "where", "delimiter", "skip", "header", "comment", "decimal", "start", "until")


def _csv(spec: Any, which: Any) -> CsvCell:
    _no_which(which)
    return CsvCell(**_keys("csv", spec, needed=("column",), optional=_TABLE))


def _columns(spec: Any, which: Any) -> Columns:
    given = _keys("columns", spec, needed=("line", "from", "to"))
    return Columns(given["line"], given["from"], given["to"], which)


def _token(spec: Any, which: Any) -> Token:
    given = _keys("token", spec, needed=("line", "field"), optional=("below", "delimiter"))
    return Token(**given, which=which)


def _json(spec: Any, which: Any) -> JsonPointer:
    _no_which(which)
    return JsonPointer(spec)


def _npy(spec: Any, which: Any) -> NpyElement:
    _no_which(which)
    if isinstance(spec, Mapping):
        given = _keys("npy", spec, needed=("array",), optional=("index",))
        return NpyElement(given.get("index", "all"), given["array"])
    return NpyElement(spec)


def _library(kind: str, spec: Any, which: Any) -> LibraryArray:
    _no_which(which)
    given = _keys(kind, spec, needed=("array",), optional=("index",))
    return LibraryArray(kind, given["array"], given.get("index", "all"))


def _no_which(which: Any) -> None:
    if which is not None:
        raise InputError("which goes with regex, or with columns or token whose line is found by a regex")


KINDS: dict[str, Callable[[Any, Any], Extractor]] = {
    "json": _json,
    "csv": _csv,
    "regex": Regex,
    "columns": _columns,
    "token": _token,
    "npy": _npy,
    **{kind: partial(_library, kind) for kind in LIBRARIES},
}
"""Makers of extractors for one file, by the key that asks for them. The key ``python`` is not here, as it sees the
whole folder.

Each maker is called with the value of its key, and with the value of ``which``.
"""


@dataclass(frozen=True)
class Output:
    """One named output of a program.

    Attributes
    ----------
    name : str
        The name in expressions.
    file : str or None
        Path relative to the work directory; ``stdout`` and ``stderr`` are the program's own. A Python function needs no
        file.
    extractor : Extractor or UserFunction
        Reads the value from the file; a function reads it from the work directory.
    """

    name: str
    file: str | None
    extractor: Extractor | UserFunction


def parse_output(name: str, spec: Any, base: str) -> Output:
    """The output for a description.

    Parameters
    ----------
    name : str
        The output's name.
    spec : mapping
        ``file``, and exactly one of the keys of `KINDS`, or ``python``; with some of them also ``which``.
    base : str
        The folder where a Python function's module is looked for first.

    Raises
    ------
    InputError
        If the description is not of this form.
    """
    try:
        file, extractor = _parse(spec, base)
    except InputError as error:
        raise InputError(f"outputs: {name}: {error}") from error
    return Output(name, file, extractor)


def _parse(spec: Any, base: str) -> tuple[str | None, Extractor | UserFunction]:
    kinds = (*KINDS, "python")
    given = {
        key: value
        for key, value in _keys("an output", spec, optional=("file", "which", *kinds)).items()
        if value is not None
    }
    asked = [kind for kind in kinds if kind in given]
    if len(asked) != 1:
        raise InputError(f"needs exactly one of {', '.join(kinds)} (given {', '.join(asked) or 'none'})")
    kind = asked[0]
    file = inside(given["file"], "file") if "file" in given else None
    which = given.get("which")
    if kind == "python":
        _no_which(which)
        return file, UserFunction(given[kind], base)
    if file is None:
        raise InputError("needs file: the file to read, or stdout, or stderr")
    return file, KINDS[kind](given[kind], which)


def _keys(what: str, spec: Any, *, needed: Collection[str] = (), optional: Collection[str] = ()) -> dict[str, Any]:
    if not isinstance(spec, Mapping):
        raise InputError(f"{what} is a mapping with {', '.join((*needed, *optional))} (given {spec!r})")
    for key in spec:
        if key not in (*needed, *optional):
            close = difflib.get_close_matches(str(key), (*needed, *optional), 1)
            raise InputError(f"{what} has no key {key!r}" + (f"; did you mean {close[0]}?" if close else ""))
    for key in needed:
        if key not in spec:
            raise InputError(f"{what} needs {key}")
    return dict(spec)


_SEARCH, _SEARCH_PER_MIB = 4.0, 1.0
"""Seconds for each search of a regular expression in measurements, plus seconds for each MiB: whoever loads the
configuration waits for them. A pattern without backtracking takes some hundredths of a second for a MiB."""


def read_measured(name: str, spec: Any, base: Path) -> tuple[Value, NDArray[np.float64] | None]:
    """Numbers from a file beside the configuration, and their times if the file is a table with a column of times.

    Parameters
    ----------
    name : str
        The name in expressions.
    spec : mapping
        ``file``, and one of json, csv, regex, columns, token, npy.
    base : Path
        The folder of relative paths.

    Raises
    ------
    InputError
        If the description is wrong, the file is missing, or a value is not finite.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("file"), (str, Path)):
        raise InputError(f"data: {name}: needs file, and one of json, csv, regex, columns, token, npy (given {spec!r})")
    path = base / at_home(spec["file"])
    # Give the extractor the name only, as the folder does not matter to it.
    output = parse_output(name, {**spec, "file": path.name}, str(base))
    if isinstance(output.extractor, UserFunction):
        raise InputError(f"data: {name}: python reads work directories; write the data to a file")
    try:
        seconds = _SEARCH + _SEARCH_PER_MIB * path.stat().st_size / 2**20
        with reading_within(lambda: seconds):
            value = as_value(output.extractor.read(path))
            times = times_of(output.extractor, path, value)
    except OutputError as error:
        raise InputError(f"data: {name}: {path}: {error}") from error
    except OSError as error:
        raise InputError(f"data: {name}: {path}: {error.strerror or error}") from error
    if not np.isfinite(value).all():
        raise InputError(f"data: {name}: {path}: not all of it is finite")
    return value, times
