"""Checks the options of a `CommandObjective` and brings them into one form."""

from __future__ import annotations

import glob
import json
import math
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.core.files import at_home
from distfd.objectives.command.expression import Expression
from distfd.objectives.command.work_directory import inside

if TYPE_CHECKING:
    from collections.abc import Sequence


def commands(
    argv: Any, several: Sequence[Any] | None, pre: Sequence[Any], post: Sequence[Any]
) -> tuple[tuple[tuple[str, ...], ...], range]:
    """All commands in the order of running, and the range of those that are the program itself, not pre or post."""
    if (argv is None) == (several is None):
        raise InputError("exactly one of argv and commands says what to run")
    main = [argv] if argv is not None else listed("commands", several)
    if not main:
        raise InputError("commands is empty: nothing to run")
    before, after = listed("pre", pre), listed("post", post)
    whole = tuple(_argv(step) for step in (*before, *main, *after))
    return whole, range(len(before), len(before) + len(main))


def steps(given: Sequence[tuple[str, ...]], base: Path, local: set[str]) -> tuple[tuple[str, ...], ...]:
    """The commands to run one after the other; ``local`` has the names of files that will be in the work directory."""
    return tuple(_step(step, base, local, first=not k) for k, step in enumerate(given))


def listed(what: str, given: Any) -> list[Any]:
    """The value as a list; a lone text is refused."""
    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        raise InputError(f"{what} is a list (given {given!r})")
    return list(given)


def patterns(**given: Any) -> None:
    """Checks that these values are regular expressions."""
    for what, pattern in given.items():
        try:
            re.compile(pattern or "")
        except (re.error, TypeError) as error:
            raise InputError(f"{what}: {pattern!r} is no regex: {error}") from error


def _argv(argv: Any) -> tuple[str, ...]:
    if isinstance(argv, str):
        raise InputError(f"argv is a list, as no shell splits it: {json.dumps(shlex.split(argv))} (given {argv!r})")
    step = [
        str(part) if isinstance(part, (int, float, Path)) and not isinstance(part, bool) else part
        for part in listed("argv", argv)
    ]
    if not step or not all(isinstance(part, str) and "\0" not in part for part in step) or not step[0]:
        raise InputError(f"argv is a list of texts, the program first (given {argv!r})")
    return tuple(step)


def _step(argv: tuple[str, ...], base: Path, local: set[str], *, first: bool) -> tuple[str, ...]:
    step = list(argv)
    program = step[0]
    if "/" in program:
        within = os.path.normpath(program)
        # If a file of this name is beside the configuration, it is executable already. If not, only an earlier command
        # can make the program.
        built = not first and not Path(program).is_absolute() and not within.startswith("..")
        in_work = (within in local or built) and not (base / program).is_file()
        step[0] = f"./{within}" if in_work else str(base / at_home(program))
    return tuple(step)


def files(what: str, given: Sequence[str | Path], base: Path) -> tuple[str, ...]:
    """Absolute paths of existing files or folders; those that match a pattern such as ``*.dat`` are sorted."""
    if isinstance(given, (str, Path)):
        raise InputError(f"{what} is a list of files (given {given!r})")
    paths: list[str] = []
    for file in given:
        path, named = base / at_home(file), [str(base / at_home(file))]
        if not path.exists():
            named = sorted(glob.glob(str(Path(glob.escape(str(base)), at_home(file)))))  # noqa: PTH207  # also absolute
        if not named:
            raise InputError(f"{what}: {path} {'matches nothing' if glob.has_magic(str(file)) else 'does not exist'}")
        paths += named
    return tuple(dict.fromkeys(paths))


def environment(env: Mapping[str, Any]) -> dict[str, str | None]:
    """Environment variables as text, or None where one is to be unset."""
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise InputError(f"env: {name!r} is not the name of a variable")
        if name.endswith("*") and value is not None:
            raise InputError(f"env: {name}: names with * can only be unset, with null")
        if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))) or "\0" in str(value):
            raise InputError(f"env: {name} is a text or null, not {type(value).__name__}; write it in quotes")
    return {name: None if value is None else str(value) for name, value in env.items()}


_WAIT = 60.0
"""Default seconds to wait for a program's file."""


def awaited(given: Any) -> dict[str, Any] | None:
    """The file that a program writes after it has returned, with the longest wait for it."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or "file" not in given or set(given) - {"file", "timeout"}:
        raise InputError(f"wait_for: is a mapping with file, and timeout in seconds (given {given!r})")
    timeout = given.get("timeout", _WAIT)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise InputError(f"wait_for: timeout is a number of seconds > 0 (given {timeout!r})")
    return {"file": inside(given["file"], "wait_for"), "timeout": float(timeout)}


def shipped(names: Sequence[str]) -> dict[str, str]:
    """The values of these environment variables in this process."""
    if isinstance(names, str):
        raise InputError(f"pass_env is a list of names (given {names!r})")
    for name in names:
        if name not in os.environ:
            raise InputError(f"pass_env: {name} is not set here")
    return {name: os.environ[name] for name in names}


def value_names(names: Any, least: int) -> tuple[str, ...] | None:
    """The names of J's outputs, of which there are at least ``least``; None if none are given.

    Raises
    ------
    InputError
        If they are not a list of different texts, or too few.
    """
    if names is None:
        return None
    if isinstance(names, str) or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"value_names is a list of texts, one for each output of J (given {names!r})")
    if twice := next((name for k, name in enumerate(names) if name in names[:k]), None):
        raise InputError(f"value_names: {twice} is there twice")
    if len(names) < least:
        raise InputError(f"value_names: {len(names)} for the {least} outputs of J")
    return tuple(names)


def derived_names(formula: Sequence[Expression], outputs: Sequence[str], m: int) -> tuple[str, ...] | None:
    """The names of J's m outputs from the expressions that give them; None where the expressions do not determine them.

    Expressions that give one number each are the names. Elements of a single expression are ``cp[0]``, ``cp[1]``, ....
    """
    texts = [" ".join(expression.text.split()) for expression in formula] or list(outputs)
    if len(texts) == m:
        told = max(map(len, texts)) <= LONGEST_NAME and len(set(texts)) == m
        return tuple(texts) if told else None
    if len(texts) == 1 and texts[0].isidentifier():
        return tuple(f"{texts[0]}[{k}]" for k in range(m))
    return None


LONGEST_NAME = 40
"""Largest length of an expression that names an output, in characters: a longer one leaves a table no room for
numbers."""


def formula(
    value: Any, names: tuple[str, ...], data: tuple[str, ...] = (), parameters: Sequence[str] = ()
) -> tuple[Expression, ...]:
    """The expressions of ``value``, made of outputs, data and parameters; empty for a function or a sole output."""
    if not names:
        raise InputError("outputs is empty: say where J is to be found")
    if both := set(names) & set(data):
        raise InputError(f"data: {min(both)} is the name of an output too")
    if callable(value):
        return ()
    if value is None and data:
        raise InputError(f"value must say how J follows from the outputs and data {', '.join((*names, *data))}")
    if value is None:
        if len(names) > 1:
            raise InputError(f"value must say how J follows from the outputs {', '.join(names)}")
        return ()
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple)) or not listed or not all(isinstance(text, str) for text in listed):
        raise InputError(f"value is an expression, a list of them, or a function (given {value!r})")
    known = dict.fromkeys((*names, *data, *parameters))
    return tuple(Expression(text, tuple(known)) for text in listed)
