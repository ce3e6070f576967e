"""What escapes parents, sessions and environments ends with its worker's control group; J may kill its reaper."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import await_that, running

from distfd.workers import cgroups

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="NOT TESTED: no /proc")
grouped = pytest.mark.skipif(not cgroups.group_possible(), reason="NOT TESTED: no control group may be made here")

ESCAPE = """
import os, signal, subprocess, sys, time
def reapers(owner):
    found = []
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{p}/cmdline", "rb").read().split(b"\\0")
        except OSError:
            continue
        if len(words) > 5 and words[3].endswith(b"reaper.py") and words[4] == str(owner).encode():
            found.append(int(p))
    return found
def escape(file):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 1000)
            code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
            os.execve(sys.executable, [sys.executable, "-c", code, file], {})
        os._exit(0)
    os.wait()
    while not (os.path.exists(file) and open(file).read()):
        time.sleep(0.01)
def kill_reapers(owner):
    for p in reapers(owner):
        os.kill(p, signal.SIGKILL)
    while reapers(owner):
        time.sleep(0.01)
"""
WORKER = """
from distfd.workers.processes import start_reaper
start_reaper(os.environ)
"""
ROOT = str(Path(__file__).parents[2])


def ended(code: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ESCAPE + code, *argv]
    environ = {**os.environ, "PYTHONPATH": ROOT}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environ)


@grouped
def test_what_escapes_ends_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    ran = ended(WORKER + "escape(sys.argv[1]); os.kill(os.getpid(), signal.SIGKILL)", str(file))
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    pid = int(file.read_text())
    await_that("it is dead", lambda: not running(pid))


@grouped
def test_a_reaper_that_j_killed_is_replaced_and_ends_what_escaped(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = "escape(sys.argv[1]); kill_reapers(os.getpid()); start_reaper(os.environ); assert reapers(os.getpid())"
    ran = ended(WORKER + code, str(file))
    assert ran.returncode == 0, ran.stderr
    pid = int(file.read_text())
    await_that("it is dead", lambda: not running(pid))


@grouped
def test_what_a_killed_worker_without_reaper_left_is_ended_by_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = "escape(sys.argv[1]); kill_reapers(os.getpid()); os.kill(os.getpid(), signal.SIGKILL)"
    assert ended(WORKER + code, str(file)).returncode == -signal.SIGKILL
    pid = int(file.read_text())
    assert running(pid)
    group = next(line[3:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))
    assert "/distfd-worker-" in group
    ran = ended(WORKER)
    assert ran.returncode == 0, ran.stderr
    await_that("it is dead", lambda: not running(pid))
    own = cgroups._own_group()
    assert own is not None
    await_that("the group is gone", lambda: not (own / Path(group).name).exists())


PROGRAM = """
escape(sys.argv[2])
kill_reapers(int(sys.argv[1]))
print("J=1")
"""
EVALUATES = """
import numpy as np
from distfd.objectives.command.objective import CommandObjective
o = CommandObjective([sys.executable, sys.argv[1], str(os.getpid()), sys.argv[2]], work=sys.argv[3],
                     outputs={'J': {'file': 'stdout', 'regex': 'J=(.+)'}})
assert o.make().evaluate(np.ones(1), timeout=60) == 1.0
assert not reapers(os.getpid())
pid = open(sys.argv[2]).read()
assert not os.path.exists(f"/proc/{pid}"), "it still runs"
"""


def test_a_program_that_kills_its_reaper_leaves_nothing_running(tmp_path: Path) -> None:
    """Groups or not: its worker has adopted what left its parent."""
    (tmp_path / "program.py").write_text(ESCAPE + PROGRAM)
    ran = ended(WORKER + EVALUATES, str(tmp_path / "program.py"), str(tmp_path / "pid"), str(tmp_path / "w"))
    assert ran.returncode == 0, ran.stderr
    assert not running(int((tmp_path / "pid").read_text()))


def test_a_python_j_on_ray_that_kills_its_reaper_has_another(tmp_path: Path) -> None:
    code = (
        "import distfd\n"
        "escape_text = open(sys.argv[1]).read()\n"
        "def J(x):\n"
        "    names = {}; exec(escape_text, names)\n"
        "    import os\n"
        "    if not os.path.exists('seen'):\n"
        "        open('seen', 'w').write(str(os.getpid())); names['kill_reapers'](os.getpid())\n"
        "    return float(x @ x)\n"
        "os.chdir(sys.argv[2])\n"
        "with distfd.RayExecutor(num_cpus=1) as executor:\n"
        "    distfd.gradient(J, [1.0, 2.0], executor=executor, check=False)\n"
        "    assert reapers(int(open('seen').read())), 'its worker has no reaper'\n"
    )
    (tmp_path / "escape.py").write_text(ESCAPE)
    ran = ended(code, str(tmp_path / "escape.py"), str(tmp_path))
    assert ran.returncode == 0, ran.stderr


def test_where_no_group_may_be_had_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Path("/proc/self/cgroup").read_text()
    for above in (None, tmp_path / "nowhere", tmp_path):
        monkeypatch.setattr(cgroups, "_own_group", lambda above=above: above)
        assert cgroups.enter_group("0") is None
        assert not cgroups.group_possible()
    assert list(tmp_path.iterdir()) == []
    assert Path("/proc/self/cgroup").read_text() == before
