"""One attempt at an evaluation: its work directory, the mark of its processes, and messages about its failure."""

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
from distfd.objectives.command.values import OutputError, encoding_of, short, timed
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
"""Number of bytes of a log that are searched at a time, apart from the rest of the last line."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]+")


_RELATIVE = re.compile(r"(?<![\w./-])[A-Za-z0-9_][\w+-]*(?:[./][\w+-]+)+")
"""A word that may be the relative path of a file."""

_LONGEST_PATH = 300


@dataclass(frozen=True)
class Clock:
    """The time that is left for an evaluation; ``limit`` is None where there is no limit."""

    limit: float | None
    begin: float = field(default_factory=awake_clock.now)

    @property
    def left(self) -> float | None:
        """Seconds that are left; None without a limit."""
        return None if self.limit is None else self.begin + self.limit - awake_clock.now()


@dataclass(frozen=True)
class Trial:
    """One attempt at an evaluation.

    Attributes
    ----------
    folder : Path
        The attempt's work directory.
    mark : str
        A text in the environment of all its processes, by which they are found.
    logs : sequence of str
        Files, besides stdout and stderr, to which the program logs.
    launch : Launch
        The programs to run.
    refuse : callable
        Returns why the directory is not kept after a failure; empty if it is kept. Called once, at the failure.
    mask : Mask
        Replaces secret values in texts.
    handle : int
        A descriptor of the work directory.
    aged : dict of str to Aged
        What was there before the program ran; see `work_directory.age`.
    base : Path, optional
        The folder of the configuration, where files that the program misses may be.
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
        """Why the directory of this failed attempt is not kept; empty if it is kept."""
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
        """A relative path in the program's output, if that file exists beside the configuration but not here."""
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
        """The text with secret values replaced."""
        return self.mask(text)

    def find(self, pattern: str) -> str | None:
        """The first line of the logs in which the pattern is found; read in blocks, as logs can be huge.

        Raises
        ------
        OutputError
            If backtracking in the pattern takes longer than the evaluation may.
        """
        for path in (self.folder / name for name in (STDERR, STDOUT, *self.logs)):
            if not contains(self.folder, path):
                continue
            with contextlib.suppress(OSError), open_plain(path, follow=True) as log:
                wide = encoding_of(log.read(4)) != "utf-8"
                log.seek(0)
                while block := _after_holes(log):
                    block += log.readline(_LINE_BYTES)
                    if wide:  # UTF-16: its ASCII without the other halves, as patterns are mostly ASCII
                        block = block.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").replace(b"\0", b"")
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
        # Begin so far ahead of the shown part that a secret value which starts there is complete.
        before = 4 * self.mask.longest
        try:
            with open_plain(path, follow=True) as log:
                begin = max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES - before)
                log.seek(begin)
                end = log.read(_TAIL_BYTES + before)
        except OSError:
            return ""
        if b"\0" in end and name not in (*self.logs, STDERR, STDOUT):
            return ""  # the log is not text
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
    """A line that is safe for a terminal: without control characters, and only the end of a long line."""
    text = _UNPRINTABLE.sub("\ufffd", line)
    return text if len(text) <= _TAIL_LINE else "... " + text[-_TAIL_LINE:]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 4] + " ..."


RERUN = "rerun.sh"


def rerun_script(objective: ProgramSpec, launch: Launch) -> str:
    """The text of a script that runs the programs again; without values of ``pass_env``, which may be secret."""
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
