"""Run one program so that neither it nor anything it starts outlives the evaluation, or the worker."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from distfd.core import awake_clock
from distfd.core.files import ForeignFileError, open_plain, open_to_add
from distfd.workers.cgroups import enter_group
from distfd.workers.reaper import kill_marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence

EVALUATION = "DISTFD_EVALUATION"
WORKER = "DISTFD_WORKER"
CLUSTER = "DISTFD_CLUSTER"
LEGIBLE = {"SPT_NOENV": "1"}
"""With this, programs that give themselves a title (setproctitle; two of Ray's servers) do not write it over their
environment, where the marks are."""

_CLUSTER_GRACE = 8.0
"""Seconds in which a private cluster may end by itself once its driver is gone."""

MOST_PRINTED = 4 * 2**30
"""Bytes of stdout or stderr at which a program is killed: it would fill the disk of all evaluations."""

_LOOK = 1.0
"""Seconds between looks at how much a program has printed."""

_REAPER = Path(__file__).with_name("reaper.py")


class FloodError(Exception):
    """A program printed without end."""


def run_program(
    argv: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    stdout: Path,
    stderr: Path,
    mark: str,
    timeout: float | None,
    stdin: Path | None = None,
    folder: int | None = None,
    then: Callable[[], None] | None = None,
) -> int:
    """Run a program in a session of its own, and end its whole process tree in every case.

    Parameters
    ----------
    argv : sequence of str
        The program and its arguments; no shell sees them.
    cwd : Path
        The folder it runs in.
    environ : mapping
        Its whole environment, beside the mark.
    stdout, stderr : Path
        Files that its output is added to. It never passes through this process.
    mark : str
        Unique; set as DISTFD_EVALUATION in its environment, so that whatever it starts can be found.
    timeout : float or None
        Seconds until all of it is killed.
    stdin : Path, optional
        What it reads; nothing by default.
    folder : int, optional
        A descriptor of the directory of stdout and stderr.
    then : callable, optional
        Called when the program has ended and what it has started still runs.

    Returns
    -------
    int
        The return code, negative for a signal.

    Raises
    ------
    OSError
        If the program cannot be started, or one of the files is a link, a pipe or another thing than a plain file, as
        an earlier program may have left it.
    subprocess.TimeoutExpired
        If it had not ended in time; nothing of it is left then.
    FloodError
        If it printed more than a disk should have to hold; nothing of it is left then.
    """
    process = None
    try:
        with (
            _opened_to_add(stdout, folder) as out,
            _opened_to_add(stderr, folder) as err,
            Path(os.devnull).open("rb") if stdin is None else open_plain(stdin, follow=True) as source,
        ):
            process = subprocess.Popen(  # noqa: S603  # running the user's program is the purpose; never by a shell
                list(argv),
                cwd=cwd,
                env={**environ, **LEGIBLE, EVALUATION: mark},
                stdin=source,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        _await_end(process, timeout, (stdout, stderr))
        if then is not None:
            then()
        # Before the program is reaped its number cannot be another's, so its group is surely its own.
        _kill_group(process.pid)
        return process.wait()
    except BaseException:
        # KeyboardInterrupt too: whoever stops the evaluation wants no program left behind.
        kill_tree(process, mark)
        raise


def _opened_to_add(log: Path, folder: int | None) -> IO[bytes]:
    try:
        return open(open_to_add(log, folder=folder), "ab")  # noqa: PTH123  # a descriptor
    except ForeignFileError as error:
        raise OSError(errno.ELOOP, f"{log.name} was replaced by a link, or by what is no plain file") from error


@contextlib.contextmanager
def adopted_orphans() -> Iterator[None]:
    """Inside, what leaves its parent becomes a child of this process, and is killed at the end: nothing runs on.

    A daemon that has a session of its own and an empty environment can be found in no other way. For processes that do
    nothing else than to run programs, as Ray's workers do; elsewhere, and where there is no Linux, nothing happens.
    """
    if WORKER not in os.environ or not _become_subreaper(on=True):
        yield
        return
    before = child_processes()
    try:
        yield
    finally:
        give_up = time.monotonic() + _ORPHANS
        # The children of one that is killed become ours in their turn.
        while (left := child_processes() - before) and time.monotonic() < give_up:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(OSError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.001)
        _become_subreaper(on=False)


def _become_subreaper(*, on: bool) -> bool:
    """See prctl(2), PR_SET_CHILD_SUBREAPER; whether it could be done."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def child_processes() -> set[int]:
    """Process ids of this process's children, by proc_pid_task_children(5), in a fraction of a millisecond."""
    if _is_childless():
        return set()
    found: set[int] = set()
    try:
        for task in os.listdir("/proc/self/task"):  # noqa: PTH208  # a path object for each costs more than the look
            with contextlib.suppress(FileNotFoundError):
                found.update(map(int, kernel_file(f"/proc/self/task/{task}/children").split()))
    except OSError:
        import psutil

        found = {child.pid for child in psutil.Process().children()}
    return found


def _is_childless() -> bool:
    """Whether this process surely has no child, in a microsecond; what is under /proc lists them thread by thread.

    See waitid(2): children of all threads count, also those that send no SIGCHLD (``__WALL``), and none is reaped.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | _WALL)
    except ChildProcessError:
        return True
    except OSError:  # Linux before 4.7 knows no __WALL here
        pass
    return False


def kernel_file(path: str) -> bytes:
    """The content of a small file below /proc; with a file object it would take three times as long."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(handle, 65_536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)


_WALL = 0x40000000
_PR_SET_CHILD_SUBREAPER = 36
_ORPHANS = 5.0
"""Seconds after which what does not die is left: a process inside a system call that cannot be interrupted."""


def kill_tree(process: subprocess.Popen[bytes] | None, mark: str) -> None:
    """SIGKILL a program, its descendants, and every process that carries the evaluation's mark.

    The descendants are listed before the kill, as orphans forget whose they were; the mark finds those that were
    orphans already.
    """
    if process is not None and process.returncode is None:
        import psutil

        descendants: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            descendants = psutil.Process(process.pid).children(recursive=True)
        _kill_group(process.pid)
        for descendant in descendants:
            # psutil compares start times, so a reused number is safe.
            with contextlib.suppress(psutil.Error):
                descendant.kill()
    kill_evaluation(mark)
    if process is not None:
        # A process stuck in the kernel does not die of SIGKILL; the evaluation must end all the same.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)


def kill_evaluation(mark: str) -> bool:
    """SIGKILL every process that carries the evaluation's mark; whether none is left."""
    return kill_marked(f"{EVALUATION}={mark}".encode())


def _await_end(process: subprocess.Popen[bytes], timeout: float | None, logs: Sequence[Path]) -> None:
    """Wait until the program has ended, if possible without reaping it."""
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # no Linux, or forbidden inside a container
        process.wait(timeout)
        return
    deadline = math.inf if timeout is None else awake_clock.now() + timeout
    try:
        # Popen.wait(timeout) looks every 50 ms, which would double the time of short programs.
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        begin = time.monotonic()
        while not poll.poll(max(0.0, min(_LOOK, deadline - awake_clock.now())) * 1000):
            awake_clock.waited(begin, _LOOK)
            begin = time.monotonic()
            if awake_clock.now() >= deadline:
                raise subprocess.TimeoutExpired(process.args, timeout or 0.0)
            for log in logs:
                # What is on the disk, not the size: files can have holes.
                if log.stat().st_blocks * 512 > MOST_PRINTED:
                    raise FloodError(f"it printed more than {MOST_PRINTED / 2**30:g} GiB to {log.name}")
    finally:
        os.close(handle)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


@dataclass(frozen=True)
class _Reaper:
    owner: int
    mark: str
    pipe: int | None
    """Our end, held open as long as this process lives; None where there is no reaper."""
    forks: bool
    group: Path | None
    """This process's own control group, where it may have one."""

    @property
    def alive(self) -> bool:
        if self.owner != os.getpid() or self.pipe is None:
            return self.owner == os.getpid()
        # Only the reaper holds the other end, so an error here means that it is gone.
        poll = select.poll()
        poll.register(self.pipe, 0)
        return not poll.poll(0)


_lock = threading.Lock()
_reaper: _Reaper | None = None


def start_reaper(environ: MutableMapping[str, str]) -> str:
    """Have every process started with this environment killed when the calling process ends, however it ends.

    A helper process waits for the end of this one, once for each process however often this is called, and then kills
    what carries this process's mark. It ends with the last of them.

    Parameters
    ----------
    environ : mutable mapping
        Gets the mark DISTFD_WORKER. With ``os.environ`` itself all programs that this process starts from now on carry
        it, and children that it forks without starting a program are killed as well. Only the first call decides that.

    Returns
    -------
    str
        The mark's value. Where there is no /proc (macOS), it is set but nobody acts on it.
    """
    global _reaper  # noqa: PLW0603  # one helper for each process, whoever asks
    with _lock:
        if _reaper is None or not _reaper.alive:
            mine = _reaper is not None and _reaper.owner == os.getpid()
            mark = _reaper.mark if _reaper is not None and mine else uuid.uuid4().hex
            if _reaper is not None and _reaper.pipe is not None:
                os.close(_reaper.pipe)  # of a reaper that died, or our copy of the one of the process we forked off
            forks, group = environ is os.environ, None
            if _reaper is not None and mine:
                forks, group = _reaper.forks, _reaper.group
            elif forks:  # a process of ours: those that others have started stay where they are
                group = enter_group(mark)
            pipe = _spawn_reaper(f"{WORKER}={mark}", forks=forks, group=group)
            _reaper = _Reaper(os.getpid(), mark, pipe, forks, group)
        environ.update(LEGIBLE)
        environ[WORKER] = _reaper.mark
        return _reaper.mark


@contextlib.contextmanager
def reaped_cluster() -> Iterator[None]:
    """Have the servers that are started inside killed a few seconds after this process has ended, however it ends.

    Ray's own agents were seen to live on for over half a minute where the driver is killed. It is told of the end by
    Ray itself too, and workers may use the seconds to leave what they have finished.
    """
    mark = uuid.uuid4().hex
    marks = {CLUSTER: mark, **LEGIBLE}
    before = {name: os.environ.get(name) for name in marks}
    # Their end of the pipe is never closed: it goes with this process.
    _spawn_reaper(f"{CLUSTER}={mark}", forks=False, grace=_CLUSTER_GRACE)
    os.environ.update(marks)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _spawn_reaper(entry: str, *, forks: bool, grace: float = 0.0, group: Path | None = None) -> int | None:
    if not Path("/proc/self/environ").exists():
        return None
    # Our end of this pipe closes when this process ends, by kill -9 too; programs do not inherit it.
    theirs, ours = os.pipe()
    subprocess.run(  # noqa: S603  # our own script
        [
            *(sys.executable, "-I", "-S", str(_REAPER), str(os.getpid()), entry),
            *("forks" if forks else "-", str(grace), str(group or "")),
        ],
        # Without any mark, or the reaper of a worker further up would kill this one before its work is done.
        env={name: value for name, value in os.environ.items() if name not in (WORKER, EVALUATION, CLUSTER)},
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
        check=True,  # it goes on in a child of its own
    )
    os.close(theirs)
    return ours
