"""The terminal is the user's: what libraries write goes to a file, results to standard output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).parents[2]


def python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; "
        "from distfd.cli import terminal\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code + program], cwd=folder, capture_output=True, text=True, check=True
    )


def test_noise_of_every_kind_goes_to_the_file(tmp_path: Path) -> None:
    ran = python(
        """
import atexit, warnings
terminal.divert(Path("ray.log"))
atexit.register(lambda: os.write(2, b"last words\\n"))
os.write(2, b"from C\\n")
print("(raylet) a worker died")
print("to stderr", file=sys.stderr)
warnings.showwarning = terminal.show_warning
warnings.warn_explicit("old", FutureWarning, "/x/site-packages/ray/a.py", 1)
warnings.warn("for the user")
os.system("echo a child >&2")
os.system("echo result of a child")
os.write(1, b"from C to stdout\\n")
print("the result", file=terminal.answers())
terminal.error("this failed", 3, debug=False)
""",
        tmp_path,
    )
    assert ran.stdout == "the result\n"
    assert ran.stderr == "warning: for the user\ndistfd: this failed\n"
    lines = (tmp_path / "ray.log").read_text().splitlines()
    assert sorted(lines) == sorted(
        [
            "from C",
            "(raylet) a worker died",
            "to stderr",
            "/x/site-packages/ray/a.py: FutureWarning: old",
            "a child",
            "result of a child",
            "from C to stdout",
            "last words",
        ]
    )


def test_no_noise_is_no_file(tmp_path: Path) -> None:
    ran = python("terminal.divert(Path('ray.log')); print('hello', file=terminal.stream())", tmp_path)
    assert ran.stderr == "hello\n"
    assert not list(tmp_path.iterdir())


def test_what_j_prints_is_shown_on_request_and_what_daemons_print_is_not(tmp_path: Path) -> None:
    ran = python(
        """
terminal.divert(Path("ray.log"), show_output=True)
print("\\x1b[36m(RayWorker pid=7)\\x1b[0m J prints")
print("\\x1b[33m(raylet)\\x1b[0m a worker died")
print("(RayWorker pid=7) J complains", file=sys.stderr)
os.write(2, b"from C\\n")
print("the result", file=terminal.answers())
""",
        tmp_path,
    )
    assert ran.stdout == "the result\n"
    assert ran.stderr == "\x1b[36m(RayWorker pid=7)\x1b[0m J prints\n(RayWorker pid=7) J complains\n"
    lines = (tmp_path / "ray.log").read_text().splitlines()
    assert sorted(lines) == ["\x1b[33m(raylet)\x1b[0m a worker died", "from C"]


def test_a_file_that_cannot_be_made_leaves_all_as_it_was(tmp_path: Path) -> None:
    ran = python("terminal.divert(Path('no/such/folder/ray.log')); os.write(2, b'from C\\n')", tmp_path)
    assert ran.stderr == "from C\n"


def test_results_that_cannot_be_written_are_told_and_a_reader_that_went_is_no_error() -> None:
    program = "\nwith terminal.answering(): print('x' * 100_000, file=terminal.answers())"
    with Path("/dev/full").open("w") as full:
        assert answer(program, full) == (1, "No space left on device; what was finished is kept")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        assert answer(program, broken) == (0, "")


def answer(program: str, out: TextIO) -> tuple[int, str]:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from distfd.cli import terminal\n{program}"
    ran = subprocess.run([sys.executable, "-c", code], stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    return ran.returncode, ran.stderr.strip().rpartition("written: ")[2]


def test_closed_standard_streams_are_nobodys(tmp_path: Path) -> None:
    """As some daemons start their programs: the first file to be opened would be standard output."""
    program = "terminal.open_streams(); sys.exit(open('file', 'w').fileno() < 3 or sys.stdout.isatty())"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from distfd.cli import terminal; {program}"
    argv = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(argv, cwd=tmp_path, check=False).returncode == 0


def test_what_j_writes_in_this_process_is_no_result(tmp_path: Path) -> None:
    """Without Ray, J, its compiled parts and its children have the same standard output as distfd."""
    (tmp_path / "printing.py").write_text(
        "import os\ndef J(x):\n    print('J prints', flush=True)\n    os.write(1, b'C prints\\n')\n"
        "    os.system('echo a child prints')\n    return float(x @ x)\n"
    )
    (tmp_path / "job.yaml").write_text(
        "task: gradient\nobjective: {python: 'printing:J'}\nx0: [1.0]\ncluster: {address: serial}\noutput: run\n"
    )
    command = [sys.executable, "-m", "distfd", "run", "--quiet", "job.yaml"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert "prints" not in ran.stdout + ran.stderr
    assert "dJ/dx" in ran.stdout
    lines = (tmp_path / "run" / "output.log").read_text().splitlines()
    assert set(lines) == {"J prints", "C prints", "a child prints"}
    assert not (tmp_path / "run" / "ray.log").exists()
