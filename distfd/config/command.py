"""The keys of ``objective.command``: an external program as J."""

import ast
import os
import warnings
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, Strict, Tag, ValidationInfo, field_validator, model_validator

from distfd.config.fields import (
    Count,
    DistinctTexts,
    InputFile,
    InputFiles,
    ModuleName,
    Name,
    OneGroup,
    Program,
    Programs,
    Regex,
    Text,
    WorkFile,
    beside_config,
    union,
)
from distfd.config.section import KeyPath, Section, refuse, wrong


def _pointer(text: str) -> str:
    if (text and not text.startswith("/")) or any(part[:1] not in ("0", "1") for part in text.split("~")[1:]):
        raise wrong(
            "must be a JSON pointer (RFC 6901): /key/0/key, with ~1 for / and ~0 for ~ inside a key", f"/{text}"
        )
    return text


def _expression(text: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise wrong(f"not an expression: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise wrong("not an expression that can be read") from None
    return text


def _variable(text: str) -> str:
    if not text or "=" in text:
        raise wrong("must be the name of an environment variable")
    return text


Pointer = Annotated[str, AfterValidator(_pointer)]
Expression = Annotated[Text, AfterValidator(_expression)]
Expressions = Annotated[tuple[Expression, ...], Strict(strict=False), Field(min_length=1)]
Variable = Annotated[str, AfterValidator(_variable)]
Index = Annotated[int, Field(ge=0)]
Indices = Annotated[tuple[Index, ...], Strict(strict=False), Field(min_length=1)]
Column = Annotated[
    Annotated[Count, Tag("<number>")] | Annotated[Text, Tag("<text>")], union("must be a column's name or number")
]
Line = Annotated[
    Annotated[Count, Tag("<number>")] | Annotated[Regex, Tag("<text>")],
    union("must be a line's number, or a regular expression that finds it"),
]
At = Annotated[
    Annotated[Index, Tag("<number>")] | Annotated[Indices, Tag("<list>")],
    union("must be an index from 0, or a list with one for each dimension"),
]
Value = Annotated[
    Annotated[Expression, Tag("<text>")] | Annotated[Expressions, Tag("<list>")],
    union("must be an expression of output names, or a list of them"),
]


class Cell(Section):
    """A cell of a CSV file."""

    column: Column
    """The column's name in the header, or its number from 1."""
    row: Count
    """From 1, below the header."""


class Columns(Section):
    """Characters of one line of a fixed-width file."""

    line: Line
    """The line's number from 1, or a regular expression that finds it."""
    from_: Count = Field(alias="from")
    """First character, from 1."""
    to: Count
    """Last character, inclusive."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.to < self.from_:
            refuse("columns", [(("to",), f"is before from, which is {self.from_}", self.to)])
        return self


class Output(Section):
    """Where to find one number of what the program wrote."""

    one_of = ("json", "csv", "regex", "columns", "npy", "python")

    file: WorkFile
    """In the work directory; stdout and stderr are the program's own."""
    json_: Pointer | None = Field(default=None, alias="json")
    """A JSON pointer: /mass/0."""
    csv: Cell | None = None
    """A cell of a table."""
    regex: OneGroup | None = None
    """With one group, which holds the number; must match exactly once. ^ and $ match at every line."""
    columns: Columns | None = None
    """Characters of one line."""
    npy: At | None = None
    """An index from 0, or a list with one for each dimension."""
    python: ModuleName | None = None
    """A function that is given the file's path."""


class Command(Section):
    """An external program, run in a work directory of its own for each evaluation; never a shell."""

    one_of = ("argv", "commands")

    copy_: InputFiles = Field(default=(), alias="copy")
    """Files copied into the work directory."""
    link: InputFiles = ()
    """Files linked into the work directory."""
    argv: Program | None = None
    """The program and its arguments."""
    commands: Programs | None = None
    """Several programs, run in a row."""
    inputs: dict[WorkFile, InputFile] = Field(default={})
    """Jinja templates, each by the file that is made from it in the work directory."""
    env: dict[Variable, str | None] = Field(default={})
    """Variables set, or with null unset, in the program."""
    pass_env: DistinctTexts = ()
    """Variables of the driver that the program gets on other nodes too."""
    hint: Text | None = None
    """What to install when the program is missing."""
    fails_if: Regex | None = None
    """A log in which this is found means failure."""
    outputs: Annotated[dict[Name, Output], Field(min_length=1)]
    """What to read from the program's files, by name."""
    value: Value | None = None
    """J as an expression of the outputs; a list makes a vector. By default the only output."""

    @property
    def programs(self) -> tuple[tuple[str, ...], ...]:
        """The programs to run in a row: ``commands``, or ``argv`` alone."""
        return self.commands or (() if self.argv is None else (self.argv,))

    @field_validator("argv")
    @classmethod
    def _argv_beside(cls, argv: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        return None if argv is None else _program_beside(argv, info)

    @field_validator("commands")
    @classmethod
    def _commands_beside(
        cls, commands: tuple[tuple[str, ...], ...] | None, info: ValidationInfo
    ) -> tuple[tuple[str, ...], ...] | None:
        return None if commands is None else tuple(_program_beside(argv, info) for argv in commands)

    @field_validator("inputs")
    @classmethod
    def _own_file(cls, inputs: dict[str, str]) -> dict[str, str]:
        taken = [name for name in inputs if os.path.normpath(name) == "parameters.json"]
        refuse("inputs", [((name,), "is written by distfd itself", name) for name in taken])
        return inputs

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [Path(file).name for file in self.copy_ + self.link]
        keys: list[KeyPath] = [("copy", k) for k in range(len(self.copy_))]
        keys += [("link", k) for k in range(len(self.link))]
        found: list[tuple[KeyPath, str, Any]] = [
            (keys[k], "another file of this name goes into the work directory", name)
            for k, name in enumerate(names)
            if name in names[:k]
        ]
        if self.value is None and len(self.outputs) > 1:
            found.append((("value",), f"is needed, as there are several outputs: {', '.join(self.outputs)}", None))
        refuse("command", found)
        return self


def _program_beside(argv: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """The argv with a program that stands beside the configuration made absolute.

    A program in the work directory (one that is copied there) keeps its relative name, and one without a slash is
    looked up in PATH.
    """
    program = argv[0]
    brought = {Path(file).name for key in ("copy_", "link") for file in info.data.get(key, ())}
    if "/" not in program or Path(program).name in brought:
        return argv
    path = beside_config(program, info)
    return (path, *argv[1:]) if Path(path).is_file() else argv
