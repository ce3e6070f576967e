"""The keys of ``objective.command``: an external program as J."""

import ast
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, Strict, Tag, ValidationInfo, field_validator, model_validator

from distfd.config.field_types import (
    DistinctTexts,
    Duration,
    InputFile,
    InputFiles,
    Name,
    Program,
    Programs,
    Regex,
    Sigma,
    Text,
    WorkFile,
    beside_config,
    union,
)
from distfd.config.output_sections import Data, Output, Pointer
from distfd.config.section_base import KeyPath, Section, refuse, wrong
from distfd.core.errors import InputError

_LONGEST = 10_000
"""Largest length of an expression in characters: Python's parser would take too long for a longer one."""


def _expression(text: str) -> str:
    if len(text) > _LONGEST:
        raise wrong(f"not an expression: it has {len(text)} characters, and at most {_LONGEST} are allowed")
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


Expression = Annotated[Text, AfterValidator(_expression)]
Expressions = Annotated[tuple[Expression, ...], Strict(strict=False), Field(min_length=1)]
Variable = Annotated[str, AfterValidator(_variable)]
EditValue = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[float, Tag("<number>")],
    union("must be a parameter's name, an expression, or a number"),
]
Steps = Annotated[tuple[Program, ...], Strict(strict=False)]
DistinctFiles = Annotated[tuple[WorkFile, ...], Strict(strict=False)]
Folder = Annotated[Text, AfterValidator(beside_config)]
Value = Annotated[
    Annotated[Expression, Tag("<text>")] | Annotated[Expressions, Tag("<list>")],
    union("must be an expression of output names, or a list of them"),
]


EDITED = (".json", ".yaml", ".yml", ".xml", ".nml", ".namelist", ".ini", ".cfg")
"""Endings of names of files whose numbers can be replaced."""


class Edit(Section):
    """A JSON, YAML, XML, INI or namelist file in which numbers are replaced."""

    edit: InputFile
    """The file as it is; .json, .yaml, .yml, .xml, .nml, .namelist, .ini or .cfg."""
    set: Annotated[dict[Pointer, EditValue], Field(min_length=1)]
    """What is written where: {/path/to/number: parameter, or an expression as between the braces of a template}."""

    @field_validator("edit")
    @classmethod
    def _known_format(cls, file: str) -> str:
        if Path(file).suffix.lower() not in EDITED:
            raise wrong(f"must be one of {', '.join(EDITED)}; another kind is written by a template")
        return file


Input = Annotated[
    Annotated[InputFile, Tag("<text>")] | Annotated[Edit, Tag("<mapping>")],
    union("must be a template, or {edit: file, set: {/path: parameter}}"),
]


class WaitFor(Section):
    """A file that is written once the program has returned."""

    file: WorkFile
    """In the work directory."""
    timeout: Annotated[Duration, Field(gt=0)] = 60.0
    """How long to wait for it; the wait counts towards evaluation.timeout."""


class Command(Section):
    """An external program, run in a work directory of its own for each evaluation; never a shell."""

    one_of = ("argv", "commands")

    copy_: InputFiles = Field(default=(), alias="copy")
    """Files and folders copied into the work directory under their last name: mesh/a.msh as a.msh, mesh as mesh."""
    link: InputFiles = ()
    """Files and folders linked there in the same way."""
    argv: Program | None = None
    """The program and its arguments."""
    commands: Programs | None = None
    """Several programs, run in a row."""
    pre: Steps = ()
    """Programs to run before argv or commands."""
    post: Steps = ()
    """Programs to run after argv or commands."""
    stdin: WorkFile | None = None
    """A file in the work directory that argv, or each of commands, reads as its standard input."""
    inputs: dict[WorkFile, Input] = Field(default={})
    """Files to write in the work directory: from a Jinja template, or {edit: file, set: {/path: parameter}}."""
    env: dict[Variable, str | None] = Field(default={})
    """Environment variables to set for the program; null removes a variable."""
    pass_env: DistinctTexts = ()
    """Environment variables of your own process that the program also gets on other nodes."""
    hint: Text | None = None
    """What to install when the program is missing."""
    fails_if: Regex | None = None
    """A regular expression: if it is found in a log, the evaluation has failed."""
    log: DistinctFiles = ()
    """Files in the work directory to search for fails_if and retry_if, besides stdout and stderr."""
    restart: DistinctFiles = ()
    """Files that carry the program's state: with objective.warm, copied from where J(x) wrote them to other points."""
    outputs: Annotated[dict[Name, Output], Field(min_length=1)]
    """What to read from the program's files, by name."""
    data: dict[Name, Data] = Field(default={})
    """Measurements that value may name beside the outputs."""
    sigma: Sigma | None = None
    """For task least_squares: standard deviations of the residuals in value, a number, a list, or a file of them.

    Or {name: number}, by the names of outputs or data, of which each expression of value then needs exactly one.
    """
    value: Value | None = None
    """J as an expression of outputs, data and parameters; a list makes a vector. By default the only output.

    Functions: abs, sqrt, exp, log, log10, sin, cos, tan, min, max, sum, mean, std, norm, dot, trapezoid, where,
    interp.
    """
    names: Annotated[DistinctTexts, Field(min_length=1)] | None = None
    """Names for J's outputs if there are several; by default the expressions of value."""
    wait_for: WaitFor | None = None
    """For a program that returns before its work is done: {file, timeout}, the file that it writes at the end."""
    keep: Literal["failed", "all", "none", "archive"] = "failed"
    """Which work directories are kept; archive also packs those of successful evaluations into the run's archive/."""
    work: Folder | None = None
    """Where work directories are made, such as a node's fast disk; null: in the run's directory."""

    @property
    def programs(self) -> tuple[tuple[str, ...], ...]:
        """The programs to run in a row: ``commands``, or ``argv`` alone."""
        return self.commands or (() if self.argv is None else (self.argv,))

    @field_validator("argv")
    @classmethod
    def _argv_beside(cls, argv: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        return None if argv is None else _program_beside(argv, info)

    @field_validator("commands", "pre", "post")
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
    def _whole(self, info: ValidationInfo) -> Self:
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
        elif self.value is None and self.data:
            found.append((("value",), "is needed, as there are data beside the output", None))
        parameters = (info.context or {}).get("parameters", ())
        found += unreadable_values(self.value, (*self.outputs, *self.data, *parameters))
        if isinstance(self.sigma, dict) and not found:
            found += sigma_mistakes(self.sigma, self.value, (*self.outputs, *self.data), parameters)
        least = len(self.value) if isinstance(self.value, tuple) else 1
        if self.names is not None and len(self.names) < least:
            found.append((("names",), f"{len(self.names)} for the {least} outputs of J", None))
        found += [(("data", name), "is the name of an output too", name) for name in self.data if name in self.outputs]
        refuse("command", found)
        return self


def unreadable_values(value: str | tuple[str, ...] | None, names: Sequence[str]) -> list[tuple[KeyPath, str, Any]]:
    """Mistakes where ``value`` is not an expression, or uses a name that is not among ``names``."""
    from distfd.objectives.command.expression import Expression as Parsed

    several = not isinstance(value, str)
    found: list[tuple[KeyPath, str, Any]] = []
    for k, text in enumerate((value or ()) if several else (value,)):
        try:
            Parsed(str(text), tuple(names))
        except InputError as error:
            found.append((("value", k) if several else ("value",), str(error), text))
    return found


def sigma_mistakes(
    sigma: Mapping[str, float], value: str | tuple[str, ...] | None, names: tuple[str, ...], others: Sequence[str] = ()
) -> list[tuple[KeyPath, str, Any]]:
    """Mistakes where ``sigma``, given by names, does not give exactly one number for each expression of ``value``."""
    from distfd.objectives.command.options import formula
    from distfd.objectives.command.value_parts import parts_of
    from distfd.objectives.output_parts import naming_mistakes

    parts = parts_of(formula(value if value is not None else names[0], names, (), others), dict.fromkeys(names))
    return [
        (("sigma",) if name is None else ("sigma", name), text, None if name is None else sigma[name])
        for name, text in naming_mistakes(sigma, parts)
    ]


def _program_beside(argv: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """The argv with the absolute path of a program that is beside the configuration.

    A program in the work directory (one that is copied there) keeps its relative name, and one without a slash is
    looked up in PATH.
    """
    program = argv[0]
    brought = {Path(file).name for key in ("copy_", "link") for file in info.data.get(key, ())}
    if "/" not in program or Path(program).name in brought:
        return argv
    path = beside_config(program, info)
    return (path, *argv[1:]) if Path(path).is_file() else argv
