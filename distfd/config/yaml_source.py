"""Reads YAML files into a `Document`; raises an error at the first unreadable character."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from distfd.config.mistakes import KeyPath, Mistake, Place, config_error, nearest, shown
from distfd.core.files import open_plain

if TYPE_CHECKING:
    from pathlib import Path

    from distfd.config.yaml_document import Document

MOST_BYTES = 10_000_000

_LINE_ENDS = re.compile("[\n\x85\u2028\u2029]")
"""Line ends in YAML 1.1, by which PyYAML counts lines."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def read_file(path: Path) -> Document:
    """Read a YAML file.

    Raises
    ------
    ConfigError
        If the file cannot be read at all. Other mistakes are recorded in the document.
    """
    name = str(path)
    try:
        with open_plain(path, follow=True) as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        near = _meant(path) if isinstance(error, FileNotFoundError) else ""
        raise config_error([Mistake(name, (), f"cannot be read: {error.strerror}", "", near)]) from None
    if len(raw) > MOST_BYTES:
        text = f"is longer than {MOST_BYTES // 10**6} MB; keep long vectors in .npy files"
        raise config_error([Mistake(f"{name}:1:1", (), text)])
    return read_text(_decoded(raw, name), name)


def read_text(text: str, name: str, below: KeyPath = ()) -> Document:
    """Read YAML text.

    Parameters
    ----------
    text : str
    name : str
        Stands for the file in messages.
    below : tuple
        Where in a configuration the text will stand.
    """
    import yaml

    from distfd.config.yaml_tree import TreeBuilder

    bad = _UNPRINTABLE.search(text)
    if bad:
        line, column = _place(text, bad.start())
        raise config_error(
            [Mistake(f"{name}:{line}:{column}", (), "a character that YAML does not allow", shown(bad[0]))]
        )
    # If PyYAML was built with libyaml, that gives the same events about 25 times as fast.
    events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        return TreeBuilder(events, name, below).document()
    except yaml.YAMLError as error:
        raise config_error([_syntax_mistake(error, text, name)]) from None


def _place(text: str, index: int) -> Place:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def _decoded(raw: bytes, name: str) -> str:
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        line, column = _place(before, len(before))
        given = f"byte 0x{raw[error.start]:02x}"
        raise config_error([Mistake(f"{name}:{line}:{column}", (), "not UTF-8 text", given)]) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _syntax_mistake(error: Any, text: str, name: str) -> Mistake:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Mistake(f"{name}:1:1", (), f"not valid YAML: {error}".replace("\n", " "))
    lines = _LINE_ENDS.split(text.rstrip("\n"))
    # libyaml reports the end of a file on a line that does not exist.
    line, column = min((mark.line + 1, mark.column + 1), (len(lines), len(lines[-1]) + 1))
    words = f"not valid YAML: {error.problem[:200]}"
    if error.context and error.context_mark:
        words += f" {error.context} that begins at line {error.context_mark.line + 1}"
    at = lines[line - 1]
    if "\t" in at[:column]:
        words += "; indent with blanks, not with tabs"
    elif "escape" in words:
        words += "; in single quotes a backslash has no special meaning: '(\\S+)'"
    return Mistake(f"{name}:{line}:{column}", (), words)


def _meant(path: Path) -> str:
    """A file beside this one with almost the same name. If only endings differ, all YAML endings count as equal."""
    try:
        beside = {
            entry.stem: entry for entry in islice(path.parent.iterdir(), 1000) if entry.suffix in (".yaml", ".yml")
        }
    except OSError:
        return ""
    near = nearest(path.stem, list(beside))
    return str(beside[near]) if near else ""
