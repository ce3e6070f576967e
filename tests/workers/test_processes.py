"""Nothing outlives its evaluation or its worker: real processes, killed for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import psutil
import pytest
from waiting import await_that, running

from distfd.workers.processes import EVALUATION, WORKER, kill_evaluation, run_program, start_reaper

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by /proc")

PATIENCE = 20.0

# Ignores SIGTERM, and leaves a child, a grandchild in a session of its own, and an orphan; each writes its number down.
STUBBORN = """
trap '' TERM INT HUP
echo $$ >> pids
sh -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 60; done' &
setsid sh -c 'trap "" TERM; echo $$ >> pids; sh -c "echo \\$\\$ >> pids; exec sleep 600" & wait' &
(setsid sh -c 'trap "" TERM; echo $$ >> pids; exec sleep 600' &)
while :; do sleep 60; done
"""
N_STUBBORN = 5


def run(argv: list[str], folder: Path, timeout: float | None = None, mark: str | None = None) -> int:
    return run_program(
        argv,
        cwd=folder,
        environ=dict(os.environ),
        stdout=folder / "stdout",
        stderr=folder / "stderr",
        mark=mark or uuid.uuid4().hex,
        timeout=timeout,
    )


def numbers(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def test_return_codes_and_output(tmp_path: Path) -> None:
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"], tmp_path) == 3
    assert run(["sh", "-c", "echo more; kill -9 $$"], tmp_path) == -signal.SIGKILL
    assert (tmp_path / "stdout").read_text() == "out\nmore\n"
    assert (tmp_path / "stderr").read_text() == "err\n"


def test_no_shell_reads_the_arguments(tmp_path: Path) -> None:
    run(["echo", "; touch broken", "$(touch broken)", "`touch broken`"], tmp_path)
    assert not (tmp_path / "broken").exists()
    assert (tmp_path / "stdout").read_text() == "; touch broken $(touch broken) `touch broken`\n"


def test_program_has_no_stdin_and_a_session_of_its_own(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.stdin.read() == '', os.getsid(0) == os.getpid())"
    run([sys.executable, "-c", code], tmp_path)
    assert (tmp_path / "stdout").read_text() == "True True\n"


def test_missing_program_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run(["no-such-program-anywhere"], tmp_path)


def test_timeout_kills_all_of_a_stubborn_tree(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    with pytest.raises(subprocess.TimeoutExpired):
        run(["sh", "-c", STUBBORN], tmp_path, timeout=3.0, mark=mark)
    pids = numbers(tmp_path / "pids")
    assert len(pids) == N_STUBBORN
    assert not [pid for pid in pids if running(pid)]


def test_normal_end_takes_the_group_along(tmp_path: Path) -> None:
    assert run(["sh", "-c", "sleep 600 & echo $! > pids"], tmp_path) == 0
    (pid,) = numbers(tmp_path / "pids")
    await_that("the left-over is dead", lambda: not running(pid))


def test_kill_evaluation_finds_orphans_in_other_sessions(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    run(
        ["sh", "-c", "setsid sleep 600 & sleep 0.2; setsid sh -c 'echo $$ > pids; exec sleep 600' & sleep 0.3"],
        tmp_path,
        mark=mark,
    )
    (pid,) = numbers(tmp_path / "pids")
    assert running(pid)
    assert kill_evaluation(mark)
    assert not running(pid)


def test_kill_evaluation_leaves_others_alone(tmp_path: Path) -> None:
    marks = [uuid.uuid4().hex for _ in range(2)]
    sleepers = [subprocess.Popen(["sleep", "600"], env={**os.environ, EVALUATION: mark}) for mark in marks]
    try:
        kill_evaluation(marks[0])
        assert sleepers[0].wait(timeout=PATIENCE) == -signal.SIGKILL
        assert sleepers[1].poll() is None
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def worker(folder: Path, code: str) -> subprocess.Popen[bytes]:
    """Another Python process that runs this code with run_program and start_reaper at hand."""
    head = """
        import os, signal, subprocess, sys, time, threading
        from pathlib import Path
        from distfd.workers.processes import run_program, start_reaper
        folder = Path(sys.argv[1])
        def run(argv, environ, timeout=None):
            return run_program(argv, cwd=folder, environ=environ, stdout=folder / "stdout", stderr=folder / "stderr",
                               mark="m", timeout=timeout)
    """
    text = textwrap.dedent(head) + textwrap.dedent(code)
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", text, str(folder)], env={**os.environ, "PYTHONPATH": root}, start_new_session=True
    )


def reapers_of(pid: int) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if len(words) > 4 and words[3].endswith("reaper.py") and words[4] == str(pid):
            found.append(process.pid)
    return found


def test_kill_9_of_the_worker_kills_its_programs(tmp_path: Path) -> None:
    (tmp_path / "stubborn.sh").write_text(STUBBORN)
    process = worker(
        tmp_path,
        """
        environ = dict(os.environ)
        start_reaper(environ)
        run(["sh", "stubborn.sh"], environ)
    """,
    )
    await_that("the programs are up", lambda: len(numbers(tmp_path / "pids")) == N_STUBBORN)
    (reaper,) = reapers_of(process.pid)
    process.kill()
    process.wait()
    pids = numbers(tmp_path / "pids")
    await_that("all programs are dead", lambda: not [pid for pid in pids if running(pid)])
    await_that("the reaper has ended too", lambda: not running(reaper))


def test_a_python_objective_that_marks_its_whole_process(tmp_path: Path) -> None:
    """Programs of J itself, and a child forked without exec that also holds the pipe to the reaper open."""
    process = worker(
        tmp_path,
        """
        start_reaper(os.environ)
        subprocess.Popen(["setsid", "sh", "-c", "echo $$ >> pids; exec sleep 600"], cwd=folder)
        if os.fork() == 0:
            os.setsid()
            with open(folder / "pids", "a") as file:
                file.write(f"{os.getpid()}\\n")
            time.sleep(600)
        time.sleep(600)
    """,
    )
    await_that("both are up", lambda: len(numbers(tmp_path / "pids")) == 2)
    process.kill()
    process.wait()
    pids = numbers(tmp_path / "pids")
    await_that("both are dead", lambda: not [pid for pid in pids if running(pid)])


def test_one_reaper_for_each_worker_which_ends_with_it(tmp_path: Path) -> None:
    process = worker(
        tmp_path,
        """
        marks = set()
        threads = [threading.Thread(target=lambda: marks.add(start_reaper({}))) for _ in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        assert len(marks) == 1
        (folder / "up").write_text("")
        while not (folder / "end").exists():
            time.sleep(0.01)
    """,
    )
    await_that("it is up", (tmp_path / "up").exists)
    (reaper,) = reapers_of(process.pid)
    assert reaper not in [child.pid for child in psutil.Process(process.pid).children()]
    (tmp_path / "end").write_text("")
    assert process.wait(timeout=PATIENCE) == 0
    await_that("the reaper has ended", lambda: not running(reaper))


def test_a_lost_reaper_is_replaced_under_the_same_mark() -> None:
    mark = start_reaper({})

    def own() -> list[int]:
        """Not that of a cluster which another test has started in this process."""
        alive = [pid for pid in reapers_of(os.getpid()) if running(pid)]
        return [pid for pid in alive if f"{WORKER}={mark}" in " ".join(psutil.Process(pid).cmdline())]

    (first,) = own()
    os.kill(first, signal.SIGKILL)
    await_that("it is gone", lambda: not running(first))
    assert start_reaper({}) == mark
    (second,) = own()
    assert second != first


def test_programs_of_an_idle_worker_are_left_alone(tmp_path: Path) -> None:
    environ = dict(os.environ)
    mark = start_reaper(environ)
    assert environ[WORKER] == mark == start_reaper({})
    sleeper = subprocess.Popen(["sleep", "600"], env=environ)
    try:
        time.sleep(1.5)
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_nested_worker_still_cleans_up(tmp_path: Path) -> None:
    """The inner reaper bears no outer mark, so it lives to see the outer one kill the inner worker."""
    inner = """
import os, subprocess, sys, time
from distfd.workers.processes import start_reaper
start_reaper(os.environ)
subprocess.Popen(["setsid", "sh", "-c", "echo $$ >> pids; exec sleep 600"])
print("up", flush=True)
time.sleep(600)
"""
    (tmp_path / "inner.py").write_text(inner)
    process = worker(
        tmp_path,
        """
        start_reaper(os.environ)
        run([sys.executable, "inner.py"], dict(os.environ))
    """,
    )
    await_that("the inner program is up", lambda: len(numbers(tmp_path / "pids")) == 1)
    process.kill()
    process.wait()
    (pid,) = numbers(tmp_path / "pids")
    await_that("the inner program is dead", lambda: not running(pid))


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "stubborn.sh").write_text(STUBBORN)
    process = worker(
        tmp_path,
        """
        try:
            run(["sh", "stubborn.sh"], dict(os.environ))
        except KeyboardInterrupt:
            sys.exit(42)
    """,
    )
    await_that("the programs are up", lambda: len(numbers(tmp_path / "pids")) == N_STUBBORN)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE) == 42
    assert not [pid for pid in numbers(tmp_path / "pids") if running(pid)]
