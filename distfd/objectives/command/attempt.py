"""One attempt at an evaluation: its directory and mark, and how its failures are told."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, TYPE_CHECKING

from distfd.core import awake_clock
from distfd.core.describe import PRINTED
from distfd.core.files import open_plain
from distfd.objectives.command.secrets import NOTHING, Mask
from distfd.objectives.command.values import OutputError, short, timed
from distfd.objectives.command.work_directory import STDERR, STDOUT, contains
from distfd.workers.bounded_regex import lines_with
from distfd.workers.hosts import HOSTS
from distfd.workers.threads import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from distfd.core.failures import EvaluationFailure
    from distfd.objectives.command.arguments import Launch
    from distfd.objectives.command.spec import ProgramSpec
    from distfd.objectives.command.work_directory import Aged


_TAIL_BYTES = 64 * 1024

_TAIL_LINES = 20

_TAIL_LINE = 1000

_LINE_BYTES = 1024 * 1024

_BLOCK_BYTES = 1024 * 1024
"""Of a log that are searched at a time, and what is left of the line after them."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]+")


_RELATIVE = re.compile(r"(?<![\w./-])[A-Za-z0-9_][\w+-]*(?:[./][\w+-]+)+")
"""A word that may be the relative path of a file."""

_LONGEST_PATH = 300


@dataclass(frozen=True)
class Clock:
    """How long an evaluation may still take; ``limit`` is None where it may take for ever."""

    limit: float | None
    begin: float = field(default_factory=awake_clock.now)

    @property
    def left(self) -> float | None:
        """Seconds that remain."""
        return None if self.limit is None else self.begin + self.limit - awake_clock.now()


@dataclass(frozen=True)
class Trial:
    """One attempt.

    Attributes
    ----------
    folder : Path
        Its work directory.
    mark : str
        What its processes carry in their environment.
    logs : sequence of str
        Files beside stdout and stderr in which the program logs.
    launch : Launch
        What is run.
    refuse : callable
        Why the directory will not be kept if the attempt fails, empty where it will; asked once, when it does.
    mask : Mask
        Replaces what must not be told.
    handle : int
        A descriptor of the work directory.
    aged : dict of str to Aged
        What was there before the program ran; see `work_directory.age`.
    base : Path, optional
        The configuration's folder, in which files may be that the program misses.
    """

    folder: Path
    mark: str
    logs: Sequence[str]
    launch: Launch
    refuse: Callable[[], str]
    mask: Mask = field(default=NOTHING, repr=False)
    handle: int = -1
    aged: dict[str, Aged] = field(default_factory=dict)
    base: Path | None = None

    @cached_property
    def removed(self) -> str:
        """Why the directory of this failed attempt is not kept; empty where it is."""
        return self.refuse()

    def failure(
        self, kind: type[EvaluationFailure], text: str, argv: Sequence[str], read: str | None = None
    ) -> EvaluationFailure:
        """The exception for this attempt, with what the program printed last, and the end of a file that was read."""
        where = f"work directory {self.folder} (sh {RERUN} there runs it again)"
        if self.removed:
            where = f"work directory removed ({self.removed})"
        line = f"{_cut(self.hidden(shlex.join(argv)), 300)}: {_cut(self.hidden(text), 1000)}; {where}"
        line = " ".join(line.split("\n"))
        names = dict.fromkeys((*([read] if read else []), *self.logs, STDERR, STDOUT))
        tails = "\n".join(filter(None, map(self._tail, names)))
        if missed := self._missed(tails):
            line += f"; it names {missed}, which is beside the configuration: add copy: [{missed.partition('/')[0]}]"
        return kind(line, tails)

    def _missed(self, printed: str) -> str | None:
        """A relative path, in what the program printed, of a file that is beside the configuration and not here."""
        if self.base is None:
            return None
        for token in dict.fromkeys(_RELATIVE.findall(printed)):
            parts = token.split("/")
            if ".." in parts or ("." not in token and len(parts) == 1) or len(token) > _LONGEST_PATH:
                continue
            with contextlib.suppress(OSError, ValueError):
                if (self.base / token).is_file() and not os.path.lexists(self.folder / token):
                    return str(token)
        return None

    def hidden(self, text: str) -> str:
        """The text without what must not be told."""
        return self.mask(text)

    def find(self, pattern: str) -> str | None:
        """The first line of the logs in which the pattern is found, read by parts: logs can be huge.

        Raises
        ------
        OutputError
            If the pattern backtracks for longer than the evaluation may take.
        """
        for path in (self.folder / name for name in (STDERR, STDOUT, *self.logs)):
            if not contains(self.folder, path):
                continue
            with contextlib.suppress(OSError), open_plain(path, follow=True) as log:
                while block := _after_holes(log):
                    block += log.readline(_LINE_BYTES)
                    text = block.decode("utf-8", "replace").replace("\r\n", "\n")
                    with timed("regex of fails_if or retry_if", pattern) as seconds:
                        if seconds is not None and seconds <= 0:
                            raise OutputError(f"there was no time left to search {path.name} for {short(pattern)}")
                        found = lines_with(pattern, text.removesuffix("\n"), seconds)
                    if found:
                        line = text.split("\n")[found[0]]
                        return _cut(self.hidden(line.strip()), 300) or "(an empty line)"
        return None

    def _tail(self, name: str) -> str:
        path = self.folder / name
        if not contains(self.folder, path):
            return ""
        # So far before what is shown that a value which begins there is seen whole.
        before = 4 * self.mask.longest
        try:
            with open_plain(path, follow=True) as log:
                begin = max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES - before)
                log.seek(begin)
                end = log.read(_TAIL_BYTES + before)
        except OSError:
            return ""
        if b"\0" in end and name not in (*self.logs, STDERR, STDOUT):
            return ""  # no text
        text = self.hidden(end.decode("utf-8", "replace"))[-_TAIL_BYTES:]
        lines = [_shown(line) for line in text.splitlines()[-_TAIL_LINES:]]
        return "\n".join([f"{PRINTED}{name}:", *lines]) if lines else ""


def _after_holes(log: IO[bytes]) -> bytes:
    """The next block of a log; of one with holes, which may promise any number of bytes, what was written."""
    handle = log.fileno()
    before = os.lseek(handle, 0, os.SEEK_CUR)
    try:
        written = os.lseek(handle, log.tell(), os.SEEK_DATA)
    except OSError as error:
        return b"" if error.errno == errno.ENXIO else log.read(_BLOCK_BYTES)  # where a file system does not say
    os.lseek(handle, before, os.SEEK_SET)  # where the buffer left it
    log.seek(written)
    return log.read(_BLOCK_BYTES)


def _shown(line: str) -> str:
    """A line as a terminal can show it: nothing that would steer the terminal, and of a long line its end."""
    text = _UNPRINTABLE.sub("\ufffd", line)
    return text if len(text) <= _TAIL_LINE else "... " + text[-_TAIL_LINE:]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 4] + " ..."


RERUN = "rerun.sh"


def rerun_script(objective: ProgramSpec, launch: Launch) -> str:
    """The script's text; it holds no value of ``pass_env``, as those may be secret."""
    lines = [
        "#!/bin/sh",
        "# Runs this evaluation's commands again in this directory, as distfd did.",
        'cd "$(dirname "$0")" || exit 1',
    ]
    lines += [f"export {name}={shlex.quote(os.environ[name])}" for name in (*VARIABLES, HOSTS) if name in os.environ]
    for name in objective.shipped:
        lines.append(f': "${{{name}:?is handed on by pass_env; set it first}}"; export {name}')
    for name, value in launch.env.items():
        if value is not None:
            lines.append(f"export {name}={shlex.quote(str(value))}")
        elif name.endswith("*"):
            lines.append(f"for name in $(env | sed -n 's/^\\({name[:-1]}[A-Za-z0-9_]*\\)=.*/\\1/p'); do")
            lines.append('    unset "$name"\ndone')
        else:
            lines.append(f"unset {name}")
    for k, argv in enumerate(launch.steps):
        source = f" < {shlex.quote(launch.stdin)}" if launch.stdin and k in objective.fed else ""
        lines.append(f"{shlex.join(argv)}{source} || exit")
    return "\n".join(lines) + "\n"
