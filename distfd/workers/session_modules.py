"""The user's modules as the driver read them when it began, wherever and whenever a worker imports them.

A file may be edited while a run is on. A worker that imports it then, because it takes the place of one that crashed or
because J imports it only when it runs, gets the text of the session all the same. Where the file is still that text it
is imported as always, from its own place; else from the text, which goes by the same place in tracebacks.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import linecache
import os
import sys
from dataclasses import dataclass
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType


@dataclass(frozen=True)
class ModuleText:
    """Which text a module has in this session.

    Attributes
    ----------
    file : str
        Where it was read.
    digest : str
        SHA-256 of the text.
    """

    file: str
    digest: str

    @property
    def is_package(self) -> bool:
        """Whether other modules are found below it."""
        return Path(self.file).name == "__init__.py"


class SessionFinder(MetaPathFinder):
    """Finds modules by the texts that they have in this session.

    Parameters
    ----------
    fetch : callable
        Digest of a text -> the text.
    """

    def __init__(self, modules: Mapping[str, ModuleText], fetch: Callable[[str], bytes]) -> None:
        self._modules, self._fetch = modules, fetch

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002  # of the protocol: where a package looks
        target: ModuleType | None = None,  # noqa: ARG002  # of the protocol
    ) -> ModuleSpec | None:
        """How to import it; None for modules that are none of the session's."""
        text = self._modules.get(fullname)
        if text is None:
            return None
        below = [str(Path(text.file).parent)] if text.is_package else None
        if digest_of_file(text.file) == text.digest:
            return importlib.util.spec_from_file_location(
                fullname,
                text.file,
                loader=_FileLoader(fullname, text.file),
                submodule_search_locations=below,
            )
        loader = _TextLoader(text.file, bytes(self._fetch(text.digest)), package=text.is_package)
        return importlib.util.spec_from_file_location(
            fullname, text.file, loader=loader, submodule_search_locations=below
        )


class _FileLoader(SourceFileLoader):
    """Imports a module from its file, and from compiled code only where that was written after the file was.

    Python itself compares whole seconds and sizes: a file that is edited twice in a second would be stale.
    """

    def get_code(self, fullname: str) -> CodeType | None:
        with contextlib.suppress(OSError, NotImplementedError):
            cached = os.stat(importlib.util.cache_from_source(self.path))  # noqa: PTH116  # a path of the protocol's
            if cached.st_mtime_ns > os.stat(self.path).st_ctime_ns:  # noqa: PTH116
                return super().get_code(fullname)
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


class _TextLoader(InspectLoader):
    """Imports a module from its text, under the name of the file that it was read from."""

    def __init__(self, file: str, text: bytes, *, package: bool) -> None:
        self._file, self._text, self._package = file, text, package

    def get_source(self, fullname: str) -> str:  # noqa: ARG002  # of the protocol
        return importlib.util.decode_source(self._text)

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002  # of the protocol
        return self._package

    def get_code(self, fullname: str) -> CodeType:
        # Tracebacks show these lines, and not what the file says by now.
        linecache.cache[self._file] = (
            len(self._text),
            None,
            self.get_source(fullname).splitlines(keepends=True),
            self._file,
        )
        return compile(self._text, self._file, "exec", dont_inherit=True)

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002  # asked for by what looks for a module's file
        return self._file

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self._file
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102  # it is the user's own code


@contextlib.contextmanager
def importing_texts(texts: Mapping[str, tuple[str, bytes]]) -> Iterator[None]:
    """Inside, modules that are not imported yet are imported by these texts: name -> file, text."""
    contents = {hashlib.sha256(text).hexdigest(): text for _, text in texts.values()}
    modules = {name: ModuleText(file, hashlib.sha256(text).hexdigest()) for name, (file, text) in texts.items()}
    finder = SessionFinder(modules, contents.__getitem__)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def digest_of_file(file: str) -> str | None:
    """The SHA-256 of a file; None where it cannot be read."""
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return None


def import_as_session(modules: Mapping[str, ModuleText], fetch: Callable[[str], Any]) -> None:
    """From now on this process imports these modules by their texts in this session."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, SessionFinder)]  # of an earlier J
    if modules:
        sys.meta_path.insert(0, SessionFinder(modules, fetch))
