"""Programs that put links, pipes and depths into their work directories, or move the directory away."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tarfile
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from distfd.core.failures import ProgramError, ProgramTimeout
from distfd.objectives.command.archive import archive_name
from distfd.objectives.command.objective import CommandObjective
from distfd.objectives.command.work_directory import remove
from distfd.workers import processes

if TYPE_CHECKING:
    from pathlib import Path

X = np.array([1.0])
PRECIOUS = "the only copy of a thesis\n"
PYTHON = sys.executable


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text(PRECIOUS)
    return tmp_path / "home"


def program(work: Path, *codes: str, **options: Any) -> CommandObjective:
    options.setdefault("outputs", {"J": {"file": "stdout", "regex": "J=(.+)"}})
    return CommandObjective(commands=[["sh", "-c", code] for code in codes], work=work, **options)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize("how", ["ln -s", "ln"])
def test_what_a_program_prints_goes_through_no_link(tmp_path: Path, home: Path, name: str, how: str) -> None:
    objective = program(tmp_path / "w", f"rm {name}; {how} {home}/thesis.tex {name}", "echo J=1; echo no >&2")
    with pytest.raises(ProgramError, match=f"{name} was replaced by a link"):
        objective.make().evaluate(X, timeout=60)
    assert (home / "thesis.tex").read_text() == PRECIOUS


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_pipe_in_the_place_of_a_log_hangs_nothing(tmp_path: Path, name: str) -> None:
    objective = program(tmp_path / "w", f"rm {name}; mkfifo {name}", "echo J=1", fails_if="never")
    with pytest.raises(ProgramError, match=f"{name} was replaced"):
        objective.make().evaluate(X, timeout=60)


@pytest.mark.parametrize("keep", ["failed", "all", "none", "archive"])
@pytest.mark.parametrize("second", [(), ("echo J=1; touch made",)])
def test_a_directory_that_is_replaced_by_a_link_is_not_used(
    tmp_path: Path, home: Path, keep: str, second: tuple[str, ...]
) -> None:
    code = f'here=$(pwd); cd ..; mv "$here" moved; ln -s {home} "$here"; echo J=1'
    objective = program(tmp_path / "w", code, *second, keep=keep)
    with pytest.raises(ProgramError, match="work directory was moved away or replaced"):
        objective.make().evaluate(X, timeout=60)
    assert {path.name: path.read_text() for path in home.iterdir()} == {"thesis.tex": PRECIOUS}


@pytest.mark.parametrize("keep", ["failed", "all", "archive"])
def test_folders_nested_without_end_cost_no_value(tmp_path: Path, keep: str) -> None:
    deep = "import os\nfor k in range(1500):\n    os.mkdir('d' * 20); os.chdir('d' * 20)\nopen('f', 'w').write('1')"
    (tmp_path / "deep.py").write_text(deep)
    objective = program(tmp_path / "w", f"{PYTHON} {tmp_path}/deep.py; echo J=1", keep=keep, archive=tmp_path / "a")
    assert objective.make().evaluate(X, timeout=60) == 1.0
    if keep == "all":
        (kept,) = (tmp_path / "w").iterdir()
        remove(kept)
    assert list((tmp_path / "w").iterdir()) == []
    if keep == "archive":
        with tarfile.open(tmp_path / "a" / archive_name(X)) as archive:
            outcome = archive.extractfile("distfd-outcome.json")
            assert outcome is not None
            assert [name.count("/") for name in json.load(outcome)["left_out"]] == [63]
            assert archive.getmember("stdout").isreg()


def test_a_directory_is_removed_whatever_the_program_left(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "w"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "f").write_text("1")
    (folder / "a" / "link").symlink_to(home)
    (folder / "a" / "loop").symlink_to("loop")
    os.mkfifo(folder / "a" / "pipe")
    (folder / "a" / "b").chmod(0)
    (folder / "a").chmod(0o500)
    remove(folder)
    assert not folder.exists()
    link = tmp_path / "link"
    link.symlink_to(home)
    remove(link)
    assert (home / "thesis.tex").read_text() == PRECIOUS


@pytest.mark.parametrize(
    "code",
    [
        "echo '{\"a\": 7}' > o.json; touch -d @0 o.json",
        "echo '{\"a\": 7}' > new; touch -d @0 new; cp -p new o.json",
        "echo '{\"a\": 7}' > new; touch -d @0 new; mv new o.json",
    ],
)
@pytest.mark.parametrize("copied", [False, True])
def test_an_output_of_the_year_1970_is_fresh_if_the_program_wrote_it(tmp_path: Path, code: str, copied: bool) -> None:
    (tmp_path / "o.json").write_text('{"a": 1}')
    options = {"copy": ["o.json"]} if copied else {}
    outputs = {"J": {"file": "o.json", "json": "/a"}}
    objective = program(tmp_path / "w", code, outputs=outputs, base=tmp_path, **options)
    assert objective.make().evaluate(X, timeout=60) == 7.0


def test_the_copy_that_was_there_before_is_still_stale(tmp_path: Path) -> None:
    (tmp_path / "o.json").write_text('{"a": 1}')
    outputs = {"J": {"file": "o.json", "json": "/a"}}
    for code in ("true", "cat o.json", "cp -p o.json new; mv new o.json"):
        objective = program(tmp_path / "w", code, outputs=outputs, base=tmp_path, copy=["o.json"])
        with pytest.raises(ProgramError, match="stale"):
            objective.make().evaluate(X, timeout=60)


@pytest.mark.parametrize("code", ["echo J=7 > o; touch -d @0 o", "echo J=7 > n; touch -d @0 n; mv n o"])
def test_a_file_that_is_waited_for_may_be_of_the_year_1970(tmp_path: Path, code: str) -> None:
    (tmp_path / "o").write_text("J=1\n")
    outputs = {"J": {"file": "o", "regex": "J=(.+)"}}
    options: dict[str, Any] = {"base": tmp_path, "copy": ["o"], "wait_for": {"file": "o", "timeout": 60}}
    objective = program(tmp_path / "w", f"(sleep 0.3; {code}) &", outputs=outputs, **options)
    assert objective.make().evaluate(X, timeout=120) == 7.0


def test_a_copy_that_has_grown_without_end_is_not_read_to_see_whether_it_is_new(tmp_path: Path) -> None:
    (tmp_path / "o").write_text("J=1\n")
    outputs = {"J": {"file": "o", "regex": "J=(.+)"}}
    code = "truncate -s 8T o; touch -d @0 o"
    objective = program(tmp_path / "w", code, outputs=outputs, base=tmp_path, copy=["o"])
    with pytest.raises(ProgramError, match="too large"):
        objective.make().evaluate(X, timeout=60)


def test_a_log_with_holes_is_searched_for_what_was_written(tmp_path: Path) -> None:
    objective = program(tmp_path / "w", "echo J=1; truncate -s 8T my.log", log=["my.log"], fails_if="bad")
    assert objective.make().evaluate(X, timeout=60) == 1.0
    code = "echo J=1; truncate -s 8T my.log; echo one bad line >> my.log; truncate -s 9T my.log"
    objective = program(tmp_path / "w", code, log=["my.log"], fails_if="bad")
    with pytest.raises(ProgramError, match=r"fails_if matches: .*one bad line"):
        objective.make().evaluate(X, timeout=60)


def test_a_log_without_end_ends_with_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system does not tell of holes."""

    def unknown(handle: int, begin: int, how: int) -> int:
        if how == os.SEEK_DATA:
            raise OSError(errno.EINVAL, "unknown")
        return seek(handle, begin, how)

    seek = os.lseek
    monkeypatch.setattr(os, "lseek", unknown)
    objective = program(tmp_path / "w", "echo J=1; truncate -s 8T my.log", log=["my.log"], fails_if="bad")
    with pytest.raises(ProgramTimeout, match=r"no time left to search my\.log for 'bad'|'bad' did not end within 0"):
        objective.make().evaluate(X, timeout=5)


def test_a_restart_file_that_no_memory_holds_is_told_of(tmp_path: Path) -> None:
    objective = program(tmp_path / "w", "echo J=1; truncate -s 8T state", restart=["state"])
    with pytest.raises(ProgramError, match="restart file state: it is too large for the memory"):
        objective.make().evaluate_from(X, None, timeout=60, capture=True)


def test_work_folders_are_their_owners_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert (
            program(tmp_path / "a" / "w", "echo J=1", keep="archive", archive=tmp_path / "b" / "c").make().evaluate(X)
            == 1
        )
        program(tmp_path / "a" / "w", "echo J=1", keep="all").make().evaluate(X)
    finally:
        os.umask(before)
    found = [path for name in "ab" for path in [tmp_path / name, *(tmp_path / name).rglob("*")]]
    assert len(found) > 6
    assert {"parameters.json", "rerun.sh", "stdout", "distfd-outcome.json"} <= {path.name for path in found}
    assert [path for path in found if path.stat().st_mode & 0o077] == []


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c", f"import time; time.sleep(600) # {sys.argv[1]}"], {})
    os._exit(0)
print("J=1")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="NOT TESTED: no Linux")
def test_a_daemon_with_an_empty_environment_does_not_outlive_its_evaluation(tmp_path: Path) -> None:
    """In a process of its own, as a worker is: it becomes the parent of what leaves its own."""
    mark = f"distfd-test-{os.getpid()}-{tmp_path.name}"
    (tmp_path / "daemon.py").write_text(DAEMON)
    code = (
        "import os, sys, numpy as np\n"
        "from distfd.objectives.command.objective import CommandObjective\n"
        "from distfd.workers.processes import start_reaper\n"
        "start_reaper(os.environ)\n"
        "o = CommandObjective([sys.executable, sys.argv[1], sys.argv[2]], work=sys.argv[3],\n"
        "                     outputs={'J': {'file': 'stdout', 'regex': 'J=(.+)'}})\n"
        "assert o.make().evaluate(np.ones(1), timeout=60) == 1.0\n"
        "print(sum(sys.argv[2].encode() in open(f'/proc/{p}/cmdline', 'rb').read() for p in os.listdir('/proc')\n"
        "          if p.isdigit() and int(p) != os.getpid() and os.path.exists(f'/proc/{p}/cmdline')))\n"
    )
    argv = [PYTHON, "-c", code, str(tmp_path / "daemon.py"), mark, str(tmp_path / "w")]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout.strip()) == (0, "0"), ran.stderr


def test_a_process_of_the_users_own_keeps_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(processes.WORKER, raising=False)
    monkeypatch.setattr(processes, "_become_subreaper", lambda **_: pytest.fail("this process is the user's"))
    with warnings.catch_warnings(), processes.adopted_orphans():
        child = subprocess.Popen(["sleep", "600"])
    assert child.poll() is None
    child.kill()
    child.wait()
