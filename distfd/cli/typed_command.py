"""Reads a shell command line for ``distfd init``: programs in a row, variables, redirections.

A configuration runs its programs without a shell, so keys express what a shell would do: ``&&`` becomes ``commands``,
``<`` becomes ``stdin``, ``NAME=value`` becomes ``env``. A line that needs more (a pipe, ``*.dat``, ``$HOME``, ``cd``)
is passed to a shell explicitly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

from distfd.core.errors import InputError

_OPERATOR = re.compile(r"&&|\|\||&>>|&>|<<<|<<|<\(|>\(|\|&|>\||>>|>&|[<>|;&()]")
_REDIRECTIONS = frozenset({"<", ">", ">>", ">|", ">&", "&>", "&>>"})
"""Those that keys can say, or that change nothing of what is read."""
_VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_OF_A_SHELL = frozenset(
    ". : ! [ [[ { alias cd eval exec export for if module set source time trap ulimit umask while".split()  # noqa: SIM905
)
_OF_BASH = frozenset({"<<<", "<(", ">(", "|&", "&>", "&>>", "source", "[["})
_BRACES = re.compile(r"\{[^{}]*(?:,|\.\.)[^{}]*\}")
"""``{a,b}.dat``, which bash makes two words of."""

_MARK = re.compile(r"\{\{[^{}\n]*\}\}")
"""A number marked as a parameter, or a formula: one word or part of one, with no quotes as well."""


@dataclass
class TypedCommand:
    """The content of a command line.

    Attributes
    ----------
    steps : list of list of str
        The programs with their arguments.
    env : dict of str to str
    stdin : str or None
        The file that the program reads as its standard input.
    words : list of str
        All words of the line, some of which may be files.
    remarks : list of str
        Remarks for a reader of the configuration.
    by_shell : bool
        Whether a shell runs the line unchanged.
    folder : str or None
        The folder of a case where a shell runs a single program; None otherwise.
    inner : list of str
        That program, with its arguments.
    """

    steps: list[list[str]]
    env: dict[str, str] = field(default_factory=dict)
    stdin: str | None = None
    words: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    by_shell: bool = False
    folder: str | None = None
    inner: list[str] = field(default_factory=list)

    @property
    def program(self) -> str:
        """The first program's name, without its folder."""
        return (self.inner or self.steps[0])[0].rpartition("/")[2]


@dataclass(frozen=True)
class _Word:
    """A word or an operator; ``bare`` is its unquoted part, ``expands`` says whether it has a $ for a shell."""

    text: str
    bare: str = ""
    expands: bool = False
    operator: bool = False


def read_command(line: str) -> TypedCommand:
    """Read a command line.

    Raises
    ------
    InputError
        If there is no program in it, or a quote is left open.
    """
    words = _words(line)
    if not words:
        raise InputError("--command: is empty; give the program and its arguments")
    found = TypedCommand([], words=[word.text for word in words if not word.operator])
    reason = _reason_for_a_shell(words) or _read_steps(words, found)
    if reason:
        remarks = [f"a shell runs it, for {reason}"]
        shell = "bash" if any(map(_is_of_bash, words)) else "sh"
        return TypedCommand([[shell, "-c", line.strip()]], words=found.words, remarks=remarks, by_shell=True)
    return found


def _is_of_bash(word: _Word) -> bool:
    return (word.text if word.operator else word.bare) in _OF_BASH or bool(_BRACES.search(word.bare))


def _reason_for_a_shell(words: list[_Word]) -> str | None:
    """The part of the line that only a shell can do; None if there is none."""
    begins = True
    for word in words:
        if word.operator:
            if word.text != "&&" and word.text not in _REDIRECTIONS:
                return f"its {word.text}"
            begins = word.text == "&&"
            continue
        pattern = re.search(r"[*?]|\[.*\]", word.bare) or _BRACES.search(word.bare)
        if word.expands or pattern or word.bare.startswith("~"):
            return f"its {word.text}"
        if begins and word.bare in _OF_A_SHELL:
            return f"its {word.text}"
        begins = begins and bool(_VARIABLE.fullmatch(word.bare))
    return None


def _read_steps(words: list[_Word], found: TypedCommand) -> str | None:
    """Put the words where they belong; what a shell is needed for, if it is."""
    steps: list[list[_Word]] = [[]]
    for word in words:
        if word.operator and word.text == "&&":
            steps.append([])
        else:
            steps[-1].append(word)
    if not all(steps):
        return "its &&"
    if any(target in {word.text for step in steps[k + 1 :] for word in step} for k, target in _targets(steps)):
        return "its >, as what one program prints another one reads"
    for step in steps:
        env, argv = _without_redirections(*_variables(step), found)
        if not argv:
            raise InputError("--command: has no program; give one, as in 'solver deck.inp'")
        for name, value in env.items():
            if found.env.setdefault(name, value) != value:
                return f"the values of {name}"
        found.steps.append(argv)
    return "its <" if found.stdin is not None and len(steps) > 1 else None


def _targets(steps: list[list[_Word]]) -> list[tuple[int, str]]:
    """The files that are written by redirections, each with the number of its step."""
    return [
        (k, target.text)
        for k, step in enumerate(steps)
        for word, target in pairwise(step)
        if word.operator and word.text != "<" and not target.operator
    ]


def _variables(step: list[_Word]) -> tuple[dict[str, str], list[_Word]]:
    """The variables at the beginning of a command, and the rest of the command."""
    env: dict[str, str] = {}
    for k, word in enumerate(step):
        variable = _VARIABLE.fullmatch(word.text)
        if word.operator or variable is None or not _VARIABLE.match(word.bare):
            return env, step[k:]
        env[variable[1]] = variable[2]
    return env, []


def _without_redirections(
    env: dict[str, str], step: list[_Word], found: TypedCommand
) -> tuple[dict[str, str], list[str]]:
    """The arguments of a command; where it reads and writes is noted."""
    argv: list[str] = []
    rest = iter(step)
    for word in rest:
        if not word.operator:
            argv.append(word.text)
            continue
        number = argv.pop() if word.text != "<" and len(argv) > 1 and argv[-1] in ("1", "2") else "1"  # as in 2>
        target = next(rest, None)
        if target is None or target.operator:
            raise InputError(f"--command: a file name is missing after {word.text}")
        if word.text == "<":
            found.stdin = target.text
        elif word.text != ">&" and target.text != "/dev/null":
            stream = "stderr" if number == "2" else "stdout"
            found.remarks.append(f"what it prints is the file {stream} in its work directory, not {target.text}")
    return env, argv


def _words(line: str) -> list[_Word]:  # noqa: C901  # a branch for each kind of character
    """The words and operators of a line, as a POSIX shell tells them apart."""
    found: list[_Word] = []
    at, text, bare, expands, inside = 0, "", "", False, False

    def end() -> None:
        nonlocal text, bare, expands, inside
        if inside:
            found.append(_Word(text, bare, expands))
        text, bare, expands, inside = "", "", False, False

    while at < len(line):  # one piece of a word, an operator or a blank at a time
        mark = line[at]
        if marked := _MARK.match(line, at):
            text, inside, at = text + marked[0], True, marked.end()
        elif mark in "'\"":
            quoted, of_shell, at = _quoted(line, at)
            text, expands, inside = text + quoted, expands or of_shell, True
        elif mark == "\\" and at + 1 < len(line):
            if line[at + 1] != "\n":  # which goes on in the next line
                text, inside = text + line[at + 1], True
            at += 2
        elif mark == "#" and not inside:  # a remark
            at = line.find("\n", at) if "\n" in line[at:] else len(line)
        elif mark.isspace():
            end()
            at += 1
        elif operator := _OPERATOR.match(line, at):
            end()
            found.append(_Word(operator[0], operator=True))
            at = operator.end()
        else:
            expands = expands or mark in "$`"
            text, bare, inside, at = text + mark, bare + mark, True, at + 1
    end()
    return found


def _quoted(line: str, at: int) -> tuple[str, bool, int]:
    """What stands in the quotes that begin there, whether a $ in them is for a shell, and where the line goes on."""
    close = _closing(line, at)
    quoted = line[at + 1 : close]
    if line[at] == "'":
        return quoted, False, close + 1
    return re.sub(r'\\(["\\$`])', r"\1", quoted), bool(re.search(r"(?<!\\)[$`]", quoted)), close + 1


def _closing(line: str, at: int) -> int:
    """The position where the quote that begins at ``at`` ends."""
    close = re.compile(r'(?:\\.|[^"\\])*"' if line[at] == '"' else "[^']*'", re.DOTALL).match(line, at + 1)
    if close is None:
        raise InputError(f"--command: a quote is left open: {line[at : at + 40]}")
    return close.end() - 1
