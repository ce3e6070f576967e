"""Types of single values in a configuration, each with its error message."""

import glob
import keyword
import os
import re
import warnings
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationInfo,
    WithJsonSchema,
)

from distfd.config.mistakes import nearest
from distfd.config.section_base import Section, refuse, wrong
from distfd.core import quantities
from distfd.core.files import at_home

_LONGEST_NAME = 255
"""Largest length of a file name on Linux and macOS, in bytes."""


def kind_of(value: Any) -> str:
    """The member of a union that a value is meant to be, by its type alone, so that only one error is reported.

    The angle brackets mark a union member in the path of an error, where other parts are keys.
    """
    if isinstance(value, (dict, Section)):
        return "<mapping>"
    if isinstance(value, (list, tuple)):
        return "<list>"
    if isinstance(value, str):
        return "<text>"
    if isinstance(value, bool):
        return "<flag>"
    return "<number>" if isinstance(value, (int, float)) else "<other>"


def union(text: str) -> Discriminator:
    """Chooses among members tagged by `kind_of`; ``text`` says what is allowed."""
    return Discriminator(kind_of, custom_error_type="distfd", custom_error_message=text)


def only(word: str, text: str) -> BeforeValidator:
    """Accepts only this word; ``text`` says what else is allowed."""

    def check(value: Any) -> Any:
        if value != word:
            raise wrong(text, nearest(str(value), [word]))
        return value

    return BeforeValidator(check)


def _name(text: str) -> str:
    if not text.isidentifier() or keyword.iskeyword(text) or text in ("true", "false", "none"):
        raise wrong("must be a name: letters, digits and _, no digit first, no word of Python's own")
    return text


def _parameter_name(text: str, info: ValidationInfo) -> str:
    """A name, or what an FMU calls a variable, such as ``tank[1].h``."""
    if not (info.context or {}).get("fmu"):
        return _name(text)
    if not text.isprintable() or not text.strip():
        raise wrong("must be the name of a variable of the FMU")
    return text


def _module_name(text: str) -> str:
    module, colon, name = text.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        dotted = re.fullmatch(r"([A-Za-z_][\w.]*)\.(\w+)", text)
        raise wrong("must be module:name", f"{dotted[1]}:{dotted[2]}" if dotted else "")
    return text


def _regex(text: str) -> str:
    try:
        with warnings.catch_warnings():
            # Ignore warnings about syntax that a later Python may read differently.
            warnings.simplefilter("ignore")
            re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise wrong(f"not a regular expression: {error}") from None
    return text


def _one_group(text: str) -> str:
    _regex(text)
    if (groups := re.compile(text).groups) != 1:
        raise wrong(f"must have exactly one group (...), and has {groups}")
    return text


def _inside_work(text: str) -> str:
    path = Path(text)
    if path.is_absolute() or ".." in path.parts or path == Path():
        raise wrong("must be a file inside the evaluation's work directory: a relative path without ..")
    return _short(text)


def _short(text: str) -> str:
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in Path(text).parts):
        raise wrong(f"a file's name has at most {_LONGEST_NAME} bytes")
    return text


def beside_config(text: str, info: ValidationInfo) -> str:
    """The path, made absolute relative to the configuration's folder, if that is known."""
    folder = (info.context or {}).get("folder")
    return text if folder is None else os.path.abspath(Path(folder, at_home(text)))  # noqa: PTH100 - resolve() would follow links


def _environment(given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """The same, with its folders where the configuration has them."""

    def placed(value: Any) -> Any:
        return beside_config(value, info) if isinstance(value, str) and "://" not in value else value

    modules = given.get("py_modules")
    return {
        **given,
        **({"working_dir": placed(given["working_dir"])} if "working_dir" in given else {}),
        **({"py_modules": [placed(each) for each in modules]} if isinstance(modules, list) else {}),
    }


def _here(text: str, info: ValidationInfo) -> str:
    known = (info.context or {}).get("folder") is not None
    return os.path.abspath(at_home(text)) if known else text  # noqa: PTH100 - resolve() would follow links


def _existing(text: str, info: ValidationInfo) -> str:
    path = beside_config(text, info)
    if (info.context or {}).get("folder") is not None and not os.path.exists(path):  # noqa: PTH110 - never raises
        raise wrong(f"no such file: {path}")
    return path


def _plain_file(text: str, info: ValidationInfo) -> str:
    path = _existing(text, info)
    # Reading a pipe or a device may take for ever.
    if (info.context or {}).get("folder") is not None and not os.path.isfile(path):  # noqa: PTH113 - never raises
        raise wrong(f"not a plain file: {path}")
    return path


def _file_or_folder(text: str, info: ValidationInfo) -> str:
    if glob.has_magic(text) and not os.path.lexists(beside_config(text, info)):
        folder = (info.context or {}).get("folder")
        pattern = text if folder is None else str(Path(glob.escape(str(folder)), at_home(text)))
        if (info.context or {}).get("folder") is not None and not glob.glob(pattern):  # noqa: PTH207 - as text
            raise wrong("matches no file")
        return pattern
    path = _existing(text, info)
    return path if os.path.isdir(path) else _plain_file(text, info)  # noqa: PTH112 - never raises


def _matching(files: tuple[str, ...]) -> tuple[str, ...]:
    """The existing files, with patterns replaced by the files that they match."""
    found = ([file] if os.path.lexists(file) else sorted(glob.glob(file)) or [file] for file in files)  # noqa: PTH207
    return tuple(dict.fromkeys(path for paths in found for path in paths))


def _npy(text: str, info: ValidationInfo) -> str:
    from distfd.config.npy_vectors import read_vector

    if not text.endswith(".npy"):
        raise wrong("text here must be the name of an .npy file")
    path = beside_config(text, info)
    try:
        read_vector(path)
    except ValueError as error:
        raise wrong(str(error)) from None
    return path


def _program(argv: tuple[str, ...]) -> tuple[str, ...]:
    refuse("argv", [] if argv[0] else [((0,), "must be the program's name", argv[0])])
    return argv


def _positive_numbers(text: str, info: ValidationInfo) -> str:
    import numpy as np

    from distfd.config.npy_vectors import TEXT_SUFFIXES, read_numbers

    if not text.endswith((".npy", *TEXT_SUFFIXES)):
        raise wrong(f"text here must be the name of a file of numbers: .npy, or text as {', '.join(TEXT_SUFFIXES)}")
    path = beside_config(text, info)
    try:
        numbers = read_numbers(path)
    except ValueError as error:
        raise wrong(str(error)) from None
    for k in np.flatnonzero(~(np.isfinite(numbers) & (numbers > 0)))[:1].tolist():
        raise wrong(f"{path} holds {numbers[k]} at index {k}, where a finite number > 0 is needed")
    return path


def _finite_npy(text: str, info: ValidationInfo) -> str:
    from distfd.config.npy_vectors import first_not_finite, read_vector

    path = _npy(text, info)
    vector = read_vector(path)
    if (k := first_not_finite(vector)) is not None:
        raise wrong(f"{path} holds {vector[k]} at index {k}, where a finite number is needed")
    return path


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return quantities.seconds(value)
    except ValueError as error:
        raise wrong(str(error)) from None


def _bytes(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    try:
        return quantities.size(value)
    except ValueError as error:
        raise wrong(str(error)) from None


def _distinct(words: tuple[str, ...]) -> tuple[str, ...]:
    refuse("list", [((k,), "given twice", word) for k, word in enumerate(words) if word in words[:k]])
    return words


Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, AfterValidator(_name)]
ParameterName = Annotated[str, AfterValidator(_parameter_name)]
ModuleName = Annotated[str, AfterValidator(_module_name)]
Regex = Annotated[Text, AfterValidator(_regex)]
OneGroup = Annotated[Text, AfterValidator(_one_group)]
Environment = Annotated[dict[str, Any], AfterValidator(_environment)]
WorkFile = Annotated[Text, AfterValidator(_inside_work)]
InputFile = Annotated[Text, AfterValidator(_plain_file)]
BroughtFile = Annotated[Text, AfterValidator(_file_or_folder)]
OutputFolder = Annotated[Text, AfterValidator(_short), AfterValidator(_here)]
NpyFile = Annotated[str, AfterValidator(_npy)]
PositivesFile = Annotated[str, AfterValidator(_positive_numbers)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
MOST = 10**9
"""Largest value of a count: more than any machine has, and small enough to avoid overflow."""
Count = Annotated[int, Field(ge=1, le=MOST)]
FromZero = Annotated[int, Field(ge=0, le=MOST)]
Duration = Annotated[
    float,
    Field(le=1e9),
    BeforeValidator(_seconds),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^{quantities.DURATION}$"}]}),
]
Size = Annotated[
    int,
    Field(gt=0, lt=2**63),
    BeforeValidator(_bytes),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": f"^{quantities.SIZE}$"}]}),
]
# Lists of YAML become tuples, because a frozen model must not contain mutable values.
Texts = Annotated[tuple[Text, ...], Strict(strict=False)]
DistinctTexts = Annotated[Texts, AfterValidator(_distinct)]
InputFiles = Annotated[tuple[BroughtFile, ...], Strict(strict=False), AfterValidator(_matching)]
Program = Annotated[tuple[str, ...], Strict(strict=False), Field(min_length=1), AfterValidator(_program)]
Programs = Annotated[tuple[Program, ...], Strict(strict=False), Field(min_length=1)]
Numbers = Annotated[tuple[float, ...], Strict(strict=False), Field(min_length=1)]
Limits = Annotated[tuple[float | None, ...], Strict(strict=False), Field(min_length=1)]
Positives = Annotated[tuple[Positive, ...], Strict(strict=False), Field(min_length=1)]

Steps = Annotated[
    Annotated[Positive, Tag("<number>")] | Annotated[Positives, Tag("<list>")],
    union("must be a number > 0 or a list of them"),
]
Start = Annotated[
    Annotated[Numbers, Tag("<list>")] | Annotated[str, AfterValidator(_finite_npy), Tag("<text>")],
    union("must be a list of numbers, or the name of an .npy file"),
]
Limit = Annotated[
    Annotated[float, Tag("<number>")] | Annotated[Limits, Tag("<list>")] | Annotated[NpyFile, Tag("<text>")],
    union("must be a number, a list of numbers and nulls, or the name of an .npy file"),
]
Sigma = Annotated[
    Annotated[Positive, Tag("<number>")]
    | Annotated[Positives, Tag("<list>")]
    | Annotated[PositivesFile, Tag("<text>")]
    | Annotated[dict[Name, Positive], Field(min_length=1), Tag("<mapping>")],
    union("must be a number > 0, a list of them, {output: number}, or the name of an .npy, .csv or .txt file"),
]
