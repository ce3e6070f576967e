"""``distfd init --command ... --deck ...``: a first configuration from an input deck with marked numbers."""

from __future__ import annotations

import os
import re
import shlex
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distfd.cli.deck_kinds import CCX_ERROR, DeckKind, is_calculix, kind_of, named_files, written_file
from distfd.cli.draft import Draft, other_tasks, quoted, refuse_existing
from distfd.cli.marked_deck import marked_parts, template_text
from distfd.cli.typed_command import read_command
from distfd.core.errors import InputError
from distfd.core.files import read_plain
from distfd.jobs.single_evaluation import DRAFTED
from distfd.objectives.command.templates import deck_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.cli.typed_command import TypedCommand

_LARGEST_DECK = 2**28
"""Largest size of a deck in bytes, as templates may not write more."""


def draft(command: str, decks: Sequence[str], to: str | None = None, *, force: bool = False) -> Draft:
    """A configuration and templates for a program.

    Parameters
    ----------
    command : str
        The command line: the program and its arguments.
    decks : sequence of path
        Input files of the program, each with the numbers that matter marked: ``{{ width = 0.3 }}``. There need be none
        where numbers are marked in the command.
    to : path, optional
        The configuration to write; by default the first deck's name, or the program's, with .yaml.
    force : bool
        Whether files may exist already; the caller that writes the draft renames them.

    Raises
    ------
    InputError
        If a deck cannot be read, has no marks or wrong ones, or a file exists already.
    """
    typed = read_command(command)
    values: dict[str, float] = {}
    _mark_arguments(typed, values)
    if not decks and not values:
        raise InputError(
            "--deck: name the input file in which numbers are marked, such as {{ width = 0.3 }}; numbers may also be "
            "marked in the command"
        )
    case = _case_folder(decks)
    config = Path(to or f"{case or Path(decks[0] if decks else typed.program).stem}.yaml")
    if decks and not case and not to:
        config = Path(decks[0]).with_suffix(".yaml")
    if case is not None:
        _run_in_case(typed, case, decks)
    templates = _templates(decks, config.parent, typed, values, is_case=case is not None)
    if not values:
        raise InputError(f"{', '.join(decks)}: no number is marked; write {{{{ width = 0.3 }}}} in place of 0.3")
    beside = _beside(_words_of(typed, case), templates.inputs, config.parent)
    copied = list(dict.fromkeys([*beside, *(os.path.relpath(name, config.parent) for name in templates.named)]))
    text = _config(typed, templates.inputs, values, copied, remarks=templates.remarks, name=config.stem)
    files = {**templates.texts, config: text}
    if not force:
        refuse_existing(files)
    return Draft(config, files)


class _Templates(NamedTuple):
    """What the decks have become.

    Attributes
    ----------
    texts : dict
        The templates' texts by path.
    inputs : dict
        The templates' names by the decks' paths in the work directory.
    named : list of str
        Other files that the decks name, if they are to be copied.
    remarks : list of str
        Comments for the configuration.
    """

    texts: dict[Path, str]
    inputs: dict[str, str]
    named: list[str]
    remarks: list[str]


def _templates(
    decks: Sequence[str], folder: Path, typed: TypedCommand, values: dict[str, float], *, is_case: bool
) -> _Templates:
    """Templates for the decks; takes note of the values of marked numbers. A case is copied whole."""
    parts: dict[Path, list[str]] = {}
    inputs: dict[str, str] = {}
    kinds: dict[str, DeckKind] = {}
    named: list[str] = []
    remarks: list[str] = []
    programs = [step[0] for step in typed.steps] if not typed.by_shell else typed.words
    for deck in decks:
        path = Path(deck)
        template = folder / f"{path.name}.j2"
        if template in parts:  # such as 0/U and 1/U of a case
            template = folder / f"{'-'.join(Path(_target(deck)).parts)}.j2"
        text = _read(path)
        kinds[deck] = kind_of(path, text, programs)
        parts[template] = marked_parts(path, text, values, kinds[deck], remarks)
        inputs[_target(deck)] = template.name
        named += [] if is_case else [os.path.normpath(path.parent / name) for name in named_files(text, path.parent)]
    # Only now are the values of all decks known.
    texts = {
        path: template_text(pieces, values, path.stem, kind.filter)
        for (path, pieces), kind in zip(parts.items(), kinds.values(), strict=True)
    }
    own = {os.path.normpath(deck) for deck in decks}
    remarks = list(dict.fromkeys([*(kind.remark for kind in kinds.values() if kind.remark), *remarks[:1]]))
    return _Templates(texts, inputs, [name for name in named if name not in own], remarks)


def _read(deck: Path) -> str:
    try:
        return deck_text(read_plain(deck, _LARGEST_DECK, follow=True), f"--deck: {deck}")
    except OSError as error:
        raise InputError(f"--deck: {deck}: {error.strerror or error}") from error


def _case_folder(decks: Sequence[str]) -> str | None:
    """The folder in which all decks are, at some depth, as OpenFOAM's cases have it; it lies in the current one."""
    tops = {Path(_target(deck)).parts[0] for deck in decks if len(Path(_target(deck)).parts) > 1}
    alone = all(len(Path(_target(deck)).parts) > 1 for deck in decks)
    return tops.pop() if alone and len(tops) == 1 else None


def _run_in_case(typed: TypedCommand, case: str, decks: Sequence[str]) -> None:
    """Have a program run in the case's folder: a script that is only there, or one that names its deck as from there.

    The former is ./Allrun, the latter ``ccx plate`` with the deck case/plate.inp.
    """
    program, *rest = typed.steps[0]
    only_there = "/" in program and not os.path.exists(program) and os.path.isfile(f"{case}/{program}")  # noqa: PTH110, PTH113  # any text
    inside = [Path(*Path(_target(deck)).parts[1:]) for deck in decks]
    names = {str(name) for path in inside for name in (path, path.with_suffix(""))}
    from_there = any(word in names and not os.path.isfile(word) for word in rest)  # noqa: PTH113  # any text
    if len(typed.steps) == 1 and typed.stdin is None and not typed.by_shell and (only_there or from_there):
        typed.folder = case
        typed.inner = list(typed.steps[0])
        typed.steps[0] = ["sh", "-c", f"cd {shlex.quote(case)} && exec {shlex.join([program, *rest])}"]
        typed.remarks.append(f"a shell runs it, in {case}, where what it writes is, too")


def _mark_arguments(typed: TypedCommand, values: dict[str, float]) -> None:
    """Have marks in the command stand as configurations have them, and take note of their values."""

    def written(text: str) -> str:
        return "".join(marked_parts(Path("--command"), text, values, DeckKind()))

    typed.steps = [[written(word) for word in step] for step in typed.steps]
    typed.env = {name: written(value) for name, value in typed.env.items()}
    typed.stdin = None if typed.stdin is None else written(typed.stdin)


def _target(deck: str) -> str:
    """The deck's path in the work directory: as in the command, unless that leads out of the directory."""
    path = Path(os.path.normpath(deck))
    return path.name if path.is_absolute() or ".." in path.parts else str(path)


def _words_of(typed: TypedCommand, case: str | None) -> list[str]:
    """What in a command line may name a file: words, and what stands behind = in them.

    A program alone is found beside the configuration; one that a shell runs must be in the work directory.
    """
    words = typed.words if case or typed.by_shell else typed.words[1:]
    values = [word.partition("=")[2] for word in words if "=" in word]
    folders = [folder for cd, folder in pairwise(typed.words) if cd == "cd"]
    within = [os.path.normpath(os.path.join(folder, word)) for folder in folders for word in words]  # noqa: PTH118  # any text
    return [*([case] if case else []), *words, *values, *within]


def _beside(arguments: Sequence[str], inputs: dict[str, str], folder: Path) -> list[str]:
    """Other files that the command names, and the folder of a case."""
    named = [a for a in arguments if a and _target(a) not in inputs and not a.startswith("-") and os.path.exists(a)]  # noqa: PTH110  # any text
    within = [a for a in named if not Path(a).is_absolute() and ".." not in Path(a).parts and a != "."]
    tops = {Path(a).parts[0] for a in within if os.path.isdir(a)}  # noqa: PTH112  # any text
    kept = [a for a in within if Path(a).parts[0] not in tops or Path(a).parts == (Path(a).parts[0],)]
    return [os.path.relpath(path, folder) for path in dict.fromkeys(kept)]


def _parameter(name: str, value: float) -> str:
    """A parameter's line; a relative step needs to know of one that is 0 how large it typically is."""
    if value:
        return f"  - {{name: {name}, value: {value!r}}}" + ("   # lower: 0" if value > 0 else "")
    return (
        f"  - {{name: {name}, value: 0.0, scale: 1.0}}   # CHANGE scale: its typical size, as steps are relative to it"
    )


def _program(typed: TypedCommand) -> list[str]:
    """What is run, by its keys."""
    lists = [f"[{', '.join(map(quoted, step))}]" for step in typed.steps]
    lines = [f"    # {remark}" for remark in typed.remarks]
    if len(lists) == 1:
        lines.append(f"    argv: {lists[0]}")
    else:
        lines += ["    commands:                       # one after the other, while none fails"]
        lines += [f"      - {each}" for each in lists]
    if typed.stdin is not None:
        lines.append(f"    stdin: {quoted(_target(typed.stdin))}")
    if typed.env:
        lines.append(f"    env: {{{', '.join(f'{name}: {quoted(value)}' for name, value in typed.env.items())}}}")
    return lines


def _hint(program: str) -> list[str]:
    """How the program is installed; a shell or Python needs no hint."""
    if program in _SHELLS:
        return []
    if is_calculix(program):
        return ["    hint: apt-get install calculix-ccx"]
    return [f"    # hint: how to install {program}, for those who have not"]


def _files(inputs: dict[str, str], copied: Sequence[str]) -> list[str]:
    """The files that the program reads: those that templates write, and those that are copied."""
    lines = [f"      {quoted(target)}: {quoted(template)}" for target, template in inputs.items()]
    if inputs:
        title = "    inputs:                         # file to write: template to write it from (beside this file)"
        lines.insert(0, title)
    if copied:
        return [*lines, f"    copy: [{', '.join(map(quoted, copied))}]"]
    return [*lines, "    # copy: [mesh.dat]              # further files that the program reads"]


def _config(
    typed: TypedCommand,
    inputs: dict[str, str],
    values: dict[str, float],
    copied: Sequence[str],
    *,
    remarks: Sequence[str],
    name: str,
) -> str:
    calculix = is_calculix(typed.program)
    fails_if = "    # fails_if: '^ *ERROR'          # a line of the log that means failure, whatever the exit code"
    if calculix:
        fails_if = f"    fails_if: '{CCX_ERROR}'        # ccx ends with 0 after some errors"
    lines = [
        "# Drafted by distfd init. Change the outputs, then try one evaluation:  distfd run THIS --evaluate x0",
        "# Then:  distfd plan THIS   and   distfd run THIS",
        "",
        f"task: gradient                      # others: {', '.join(other_tasks())}",
        "",
        "objective:",
        "  command:",
        *_program(typed),
        *_hint(typed.program),
        *(f"    # {line}" for remark in remarks for line in textwrap.wrap(remark, 110)),
        *_files(inputs, copied),
        "    outputs:                        # CHANGE THIS: where the program writes what J is made of",
        f"      J: {_first_output(typed, calculix=calculix)}",
        "      # drag: {file: results.csv, csv: {column: drag, row: -1}}",
        "      # mass: {file: results.json, json: /mass}",
        "      # tip:  {file: out.dat, columns: {line: -1, from: 21, to: 32}}",
        "      # flow: {file: out.dat, token: {line: 'FLOW RATE', below: 2, field: 3}}   # a word, below a line",
        '    # value: "J + 10 * mass"        # needed where there are several outputs',
        "    # To fit parameters to measurements, with task: least_squares and an output with row: all:",
        "    # data: {measured: {file: measured.csv, csv: {column: y, row: all}}}",
        "    # sigma: 0.02                   # standard deviation of a measurement",
        '    # value: "J - measured"         # the residuals',
        fails_if,
        "",
        "parameters:                         # lower: and upper: are bounds that no evaluation crosses",
        *(_parameter(name, value) for name, value in values.items()),
        "",
        "derivative:",
        "  scheme: central",
        f"  step: 1.0e-3                      {DRAFTED} times |x|; `run THIS --evaluate x0` sets it by the digits",
        "                                    # that J has, once; `check THIS` measures it",
        "",
        "evaluation:",
        "  timeout: 1h",
        "",
        "output: runs/" + re.sub(r"\W+", "-", Path(next(iter(inputs), name)).stem),
    ]
    return "\n".join(lines) + "\n"


_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "python", "python3"})


def _first_output(typed: TypedCommand, *, calculix: bool) -> str:
    """Where J might be: in the file that the command names, CalculiX's own, or on standard output."""
    argv = typed.inner or typed.steps[-1]
    prefix = f"{typed.folder}/" if typed.folder else ""
    if calculix and len(argv) > 1:
        job = quoted(f"{prefix}{argv[-1].removesuffix('.inp')}.dat")
        return f"{{file: {job}, token: {{line: 'displacements', below: 2, field: 4}}}}   # by *NODE PRINT"
    file = written_file(argv)
    where = "stdout" if file is None else quoted(prefix + file)
    return f"{{file: {where}, regex: '^J\\s*=\\s*(\\S+)'}}"
