"""Puts back what an evaluation has changed in its process, so that the next point finds what the first one found.

There are two looks, as J may take a microsecond: the quick one after each evaluation, and a thorough one after the
first evaluation of a chunk, every 20 ms, and after each evaluation once J was seen to leave something.

What a module does when it is imported in the course of an evaluation (a variable of the environment, a precision) is
done once in a process, and every later point would lack it: it is kept.
"""

from __future__ import annotations

import contextlib
import decimal
import math
import os
import signal
import sys
import threading
import time
from importlib.abc import InspectLoader, MetaPathFinder
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.workers.surroundings import environ_table, follows_driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_EVERY = 0.02
"""Seconds from one thorough look to the next. It takes 10 us in a row, and 50 us after J has waited for a millisecond,
as nothing of it is in the processor's caches then."""
_SIGNALS = tuple(
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGCHLD", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGFPE", "SIGHUP")
    if hasattr(signal, name)
)
_handler: Callable[[int], Any] = getattr(sys.modules.get("_signal"), "getsignal", signal.getsignal)
"""The handler of a signal; signal.getsignal itself takes eight times as long to give it a name."""


def _settings_reader() -> Callable[[], object]:
    variable = getattr(getattr(getattr(np, "_core", None), "umath", None), "_extobj_contextvar", None)
    return object if variable is None else variable.get


_numpy_settings = _settings_reader()
"""Gives an object that is another one once numpy.seterr has been called: to ask np.geterr takes 20 us after J has
waited for a millisecond. Where NumPy has no such object (before 2.0), it is another one each time."""
_STANDARD = (0, 1, 2)
"""Standard input, output and error."""


class ProcessGuard:
    """Remembers a process as it is before the first point, and puts it back after each.

    The quick look sees the working directory, the environment, the settings of numpy and decimal, and the program's
    arguments; the thorough one the file mode mask, signal handlers, the timer, and the standard streams too.
    """

    def __init__(self) -> None:
        self._careful = False
        self._looked = -math.inf
        """When the last thorough look was, by time.monotonic()."""
        self._directory: str | None = None
        self._environ: dict[Any, Any] = {}
        self._table: Mapping[Any, Any] = {}
        self._numpy: dict[str, Any] = {}
        self._numpy_settings: object = None
        self._decimal = decimal.Context()
        self._traps: dict[Any, bool] = {}
        self._arguments: list[str] = []
        self._umask = 0
        self._handlers: tuple[Any, ...] = ()
        self._timer = False
        self._streams: tuple[Any, ...] = ()
        self._files: dict[int, tuple[int, int]] = {}
        self._spare: dict[int, tuple[tuple[int, int], int]] = {}
        """Of a standard descriptor: which file it is, and another descriptor of it."""

    def close(self) -> None:
        """Close what it has opened."""
        for file, descriptor in self._spare.values():
            if _file(descriptor) == file:  # and not another that J has opened in its place
                os.close(descriptor)
        self._spare.clear()

    __del__ = close

    def remember(self) -> None:
        """Take the process as it is now for what every point is to find."""
        self._directory = _directory()
        self._table = environ_table()
        self._environ = dict(self._table)
        self._numpy, self._numpy_settings = dict(np.geterr()), _numpy_settings()
        self._decimal = decimal.getcontext().copy()
        self._traps = dict(self._decimal.traps)
        self._arguments = list(sys.argv)
        self._umask = _umask()
        self._handlers = tuple(map(_handler, _SIGNALS))
        self._timer = signal.getitimer(signal.ITIMER_REAL)[0] > 0
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._files = {number: file for number in _STANDARD if (file := _file(number)) is not None}
        for number, file in self._files.items():
            self._keep(number, file)

    @contextlib.contextmanager
    def watching_imports(self) -> Iterator[None]:
        """Inside, what modules change as they are imported belongs to what every point is to find."""
        finder = _ImportWatch(self._importing)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):  # J has removed it
                sys.meta_path.remove(finder)

    @contextlib.contextmanager
    def _importing(self) -> Iterator[None]:
        environ, arguments, directory = dict(environ_table()), list(sys.argv), _directory()
        errors: dict[str, Any] = dict(np.geterr())
        context = _of_context(decimal.getcontext())
        try:
            yield
        finally:
            now = environ_table()
            for name in {name for name in environ.keys() | now.keys() if environ.get(name) != now.get(name)}:
                if name in now:
                    self._environ[name] = now[name]
                else:
                    self._environ.pop(name, None)
            self._numpy.update({kind: what for kind, what in np.geterr().items() if errors[kind] != what})
            if _of_context(decimal.getcontext()) != context:
                self._decimal = decimal.getcontext().copy()
                self._traps = dict(self._decimal.traps)
            if sys.argv != arguments:
                self._arguments = list(sys.argv)
            if _directory() != directory:
                self._directory = _directory()

    def put_back(self, *, first: bool) -> str | None:
        """Put back what an evaluation left changed; what cannot be is said.

        Parameters
        ----------
        first : bool
            Whether it was the first of a chunk.
        """
        context, known = decimal.getcontext(), self._decimal
        changed = (
            _directory() != self._directory
            or self._table != self._environ
            or (_numpy_settings() is not self._numpy_settings and self._numpy_differs())
            or context.prec != known.prec
            or context.rounding != known.rounding
            or context.traps != self._traps
            or sys.argv != self._arguments
        )
        if not (changed or first or self._careful) and time.monotonic() - self._looked < _EVERY:
            return None
        self._looked = time.monotonic()
        trouble: list[str] = []
        found = [changed and self._put_back_seen(trouble), self._put_back_unseen(trouble)]
        self._careful |= any(found)
        return "; ".join(trouble) or None

    def _put_back_seen(self, trouble: list[str]) -> bool:
        """Whether anything of what the quick look sees was changed."""
        changed = False
        if _directory() != self._directory:
            changed = True
            self._enter(trouble)
        if self._table != self._environ and self._put_back_environ():
            changed = True
        if self._numpy_differs():
            changed = True
            np.seterr(**self._numpy)
            self._numpy_settings = _numpy_settings()
        if _of_context(decimal.getcontext()) != _of_context(self._decimal):
            changed = True
            decimal.setcontext(self._decimal.copy())
        if sys.argv != self._arguments:
            changed = True
            sys.argv[:] = self._arguments
        return changed

    def _numpy_differs(self) -> bool:
        self._numpy_settings = _numpy_settings()
        return np.geterr() != self._numpy

    def _put_back_unseen(self, trouble: list[str]) -> bool:
        """Whether anything of what the thorough look alone sees was changed."""
        changed = False
        if _umask() != self._umask:
            changed = True
            os.umask(self._umask)
        handlers = tuple(map(_handler, _SIGNALS))
        if handlers != self._handlers and threading.current_thread() is threading.main_thread():
            changed = True
            for number, now, before in zip(_SIGNALS, handlers, self._handlers, strict=True):
                if now is not before and before is not None:  # None: it was not set from Python
                    signal.signal(number, before)
        if not self._timer and signal.getitimer(signal.ITIMER_REAL)[0] > 0:
            changed = True
            signal.setitimer(signal.ITIMER_REAL, 0)
        if (sys.stdin, sys.stdout, sys.stderr) != self._streams:
            changed = True
            sys.stdin, sys.stdout, sys.stderr = self._streams
        for number, file in self._files.items():
            if _file(number) != file:
                changed = True
                self._reopen(number, trouble)
        return changed

    def _enter(self, trouble: list[str]) -> None:
        try:
            if self._directory is not None:
                os.chdir(self._directory)
        except OSError as error:
            trouble.append(f"the working directory {self._directory} cannot be entered again ({error.strerror})")

    def _put_back_environ(self) -> bool:
        """Whether anything was changed that matters: libraries set variables of their own as they are imported."""
        before = {os.fsdecode(name): os.fsdecode(value) for name, value in self._environ.items()}
        now = dict(os.environ)
        names = [n for n in before.keys() | now.keys() if before.get(n) != now.get(n) and follows_driver(n)]
        for name in names:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]
        if "TZ" in names:
            time.tzset()
        if len(names) < len(self._environ):
            self._environ = dict(self._table)
        return bool(names)

    def _keep(self, number: int, file: tuple[int, int]) -> None:
        if self._spare.get(number, (None, 0))[0] == file:
            return
        before, spare = self._spare.pop(number, (None, -1))
        if before is not None and _file(spare) == before:
            os.close(spare)
        with contextlib.suppress(OSError):
            self._spare[number] = file, os.dup(number)

    def _reopen(self, number: int, trouble: list[str]) -> None:
        file, spare = self._spare.get(number, (None, -1))
        if file is None or _file(spare) != file:
            trouble.append(f"file descriptor {number} was closed, and so was its copy")
        else:
            os.dup2(spare, number)


class _ImportWatch(MetaPathFinder):
    """Has modules imported as they are without it, each of the outermost ones inside a context."""

    def __init__(self, context: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._context = context
        self._busy = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find."""
        if self._busy:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)  # strangers' finders may have none
            spec: ModuleSpec | None = None
            if finder is not self and find is not None:
                spec = find(fullname, path, target)
            if spec is not None:
                self._wrap(spec.loader)
                return spec
        return None

    def _wrap(self, loader: Any) -> None:
        if not isinstance(loader, InspectLoader):
            return  # it is built in, and has no text that could do anything
        run = loader.exec_module

        def run_in_context(module: ModuleType) -> None:
            self._busy = True
            try:
                with self._context():
                    run(module)
            finally:
                self._busy = False
                vars(loader).pop("exec_module", None)

        with contextlib.suppress(AttributeError):
            loader.exec_module = run_in_context  # type: ignore[method-assign]


def _of_context(context: decimal.Context) -> tuple[Any, ...]:
    return context.prec, context.rounding, context.Emin, context.Emax, context.capitals, dict(context.traps)


def _directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  # a third of what Path.cwd takes, after each evaluation
    except OSError:
        return None


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _file(number: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino
