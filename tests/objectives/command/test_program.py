"""Programs in a row, their input and environment, data they are compared with, and waiting for a licence."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from distfd import Evaluator
from distfd.core.failures import ProgramError, ProgramTimeout
from distfd.errors import EvaluationError, InputError
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from pathlib import Path

X = np.array([1.5, -0.1])
PRINTED = {"J": {"file": "stdout", "regex": r"^J = (\S+)$"}}


def shell(code: str) -> list[str]:
    return ["sh", "-c", code]


def program(tmp_path: Path, argv: list[str] | None, **options: Any) -> CommandObjective:
    options = {"outputs": PRINTED, "names": ("a", "b"), "base": tmp_path, "work": tmp_path / "work", **options}
    return CommandObjective(argv, **options)


def evaluate(objective: CommandObjective, timeout: float | None = 60.0) -> Any:
    return objective.make().evaluate(X, timeout=timeout)


def test_pre_and_post_run_around_the_program_and_only_it_reads_stdin(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text("{{ a }}\n")
    said = shell("read line; echo got:$line >> said")
    objective = program(
        tmp_path,
        shell("read line; echo got:$line >> said; echo J = $line"),
        inputs={"deck": "deck.j2"},
        stdin="deck",
        pre=[said],
        post=[said, shell("cat said")],
        outputs={**PRINTED, "said": {"file": "stdout", "regex": r"^got:(.*)$", "which": 2}},
        value="J + said",
    )
    assert evaluate(objective) == 3.0
    objective = program(tmp_path, shell("true"), stdin="nothing")
    with pytest.raises(ProgramError, match="stdin: nothing is not in its work directory"):
        evaluate(objective)


def test_a_failing_step_is_named_and_ends_it(tmp_path: Path) -> None:
    for options in ({"pre": [shell("exit 3 # pre")]}, {"post": [shell("exit 3 # post")]}):
        with pytest.raises(ProgramError, match=f"exit 3 # {next(iter(options))}.*return code 3"):
            evaluate(program(tmp_path, shell("echo J = 1"), **options))


def test_a_program_that_pre_has_built(tmp_path: Path) -> None:
    objective = program(tmp_path, ["./made"], pre=[shell("printf '#!/bin/sh\\necho J = 4' > made; chmod +x made")])
    objective.check(X)
    assert evaluate(objective) == 4


def test_variables_of_a_family_are_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURMX"):
        monkeypatch.setenv(name, "1")
    objective = program(tmp_path, shell("echo J = $(env | grep -c ^SLURM)"), env={"SLURM_*": None})
    assert evaluate(objective) == 1
    with pytest.raises(InputError, match=r"names with \* can only be unset"):
        program(tmp_path, ["true"], env={"SLURM_*": "1"})


# ---- residuals


def table(tmp_path: Path, *values: float) -> dict[str, Any]:
    (tmp_path / "measured.csv").write_text("s,u\n" + "".join(f"{k},{v}\n" for k, v in enumerate(values)))
    return {"measured": {"file": "measured.csv", "csv": {"column": "u", "row": "all"}}}


COLUMN = {"u": {"file": "out.csv", "csv": {"column": "u", "row": "all"}}}
WRITES = shell("printf 's,u\\n0,1\\n1,2\\n2,4\\n' > out.csv")


def test_residuals_against_data(tmp_path: Path) -> None:
    data = table(tmp_path, 1.5, 2, 3)
    objective = program(tmp_path, WRITES, outputs=COLUMN, data=data, value="(u - measured) / 0.5")
    (tmp_path / "measured.csv").unlink()  # it was read when the objective was made
    np.testing.assert_array_equal(evaluate(objective), [-1, 0, 2])
    data = table(tmp_path, 1.5, 2, 3)
    both = program(tmp_path, WRITES, outputs=COLUMN, data=data, value=["u - measured", "0.1 * sum(u)"])
    np.testing.assert_allclose(evaluate(both), [-0.5, 0, 1, 0.7])
    function = program(tmp_path, WRITES, outputs=COLUMN, data=data, value=lambda u, measured: float(u @ measured))
    assert evaluate(function) == 17.5


def test_arrays_of_unlike_length_are_never_stretched(tmp_path: Path) -> None:
    for values in ((1.0, 2.0), (1.0,)):
        objective = program(tmp_path, WRITES, outputs=COLUMN, data=table(tmp_path, *values), value="u - measured")
        with pytest.raises(ProgramError, match=r"arrays of shapes \(3,\) and \(\d,\) meet in u - measured"):
            evaluate(objective)


def test_data_are_part_of_what_j_is(tmp_path: Path) -> None:
    def fingerprint(*values: float) -> str | None:
        return program(
            tmp_path, WRITES, outputs=COLUMN, data=table(tmp_path, *values), value="u - measured"
        ).fingerprint()

    assert fingerprint(1, 2, 3) == fingerprint(1, 2, 3) != fingerprint(1, 2, 4)


@pytest.mark.parametrize(
    ("spec", "pattern"),
    [
        ({"file": "nowhere.csv", "csv": {"column": 1}}, r"data: m: .*nowhere\.csv: No such file"),
        ({"csv": {"column": 1}}, "data: m: needs file"),
        ({"file": "bad.csv", "csv": {"column": 1}}, r"data: m: .*bad\.csv: row 1.*'x' is not a number"),
        ({"file": "bad.csv", "csv": {"column": 2}}, "not all of it is finite"),
        ({"file": "bad.csv", "python": "m:f"}, "python reads work directories"),
    ],
)
def test_bad_data_are_refused_before_anything_runs(tmp_path: Path, spec: dict[str, Any], pattern: str) -> None:
    (tmp_path / "bad.csv").write_text("a,b\nx,nan\n")
    with pytest.raises(InputError, match=pattern):
        program(tmp_path, ["true"], data={"m": spec}, value="J - m")


def test_data_and_outputs_have_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="measured is the name of an output too"):
        program(tmp_path, WRITES, outputs={"measured": COLUMN["u"]}, data=table(tmp_path, 1), value="measured")
    with pytest.raises(InputError, match="value must say how J follows"):
        program(tmp_path, WRITES, outputs=COLUMN, data=table(tmp_path, 1))


# ---- waiting


def test_a_licence_that_is_not_free_is_waited_for(tmp_path: Path) -> None:
    counted = shell(
        f"cd {tmp_path}; echo x >> tries; test $(wc -l < tries) -gt 2 || {{ echo no licence; exit 9; }}; echo J = 7"
    )
    objective = program(tmp_path, counted, retry_if="^no licence", retry_delay=0.01)
    assert evaluate(objective) == 7
    assert (tmp_path / "tries").read_text().count("x") == 3
    assert list((tmp_path / "work").iterdir()) == []


def test_what_retry_if_names_is_no_success_whatever_the_exit_code(tmp_path: Path) -> None:
    argv = shell("echo no licence; echo J = 1")
    with pytest.raises(
        ProgramTimeout, match=r"in all \d+ tries within 0\.5 s it printed.*retry_if matches: no licence"
    ):
        evaluate(program(tmp_path, argv, retry_if="no licence"), timeout=0.5)
    (folder,) = (tmp_path / "work").iterdir()
    assert "no licence" in (folder / "stdout").read_text()


def test_other_failures_are_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="return code 9"):
        evaluate(program(tmp_path, shell("exit 9"), retry_if="no licence"))


def test_logs_in_files_are_read_too(tmp_path: Path) -> None:
    argv = shell("echo DIVERGED at 3 > run.log; seq 30 >> run.log; echo J = 1")
    with pytest.raises(ProgramError, match="a line that fails_if matches: DIVERGED at 3") as caught:
        evaluate(program(tmp_path, argv, fails_if="DIVERGED", log=["run.log"]))
    assert "the last lines of run.log:\n11\n" in caught.value.detail
    assert evaluate(program(tmp_path, argv, fails_if="DIVERGED")) == 1
    with pytest.raises(InputError, match="would leave the work directory"):
        program(tmp_path, argv, log=["../run.log"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_logs_of_windows_are_read_too(tmp_path: Path, encoding: str) -> None:
    """An error that is not found leaves what the failed run has written as J."""
    (tmp_path / "text").write_bytes("started\r\nERROR at 3\r\nended\r\n".encode(encoding))
    argv = shell("cp text run.log; echo J = 1")
    with pytest.raises(ProgramError, match="a line that fails_if matches: ERROR at 3"):
        evaluate(program(tmp_path, argv, fails_if="^ERROR", log=["run.log"], copy=["text"]))


# ---- by hand


def test_a_failed_evaluation_can_be_run_again_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LICENCE", "secret'7")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    (tmp_path / "deck.j2").write_text("{{ a }}\n")
    objective = program(
        tmp_path,
        shell('read line; echo "$line $COLOUR ${DROPPED:-none} $LICENCE ${SLURM_NTASKS:-0}"; exit 3'),
        pre=[["touch", "it's here"]],
        inputs={"deck file": "deck.j2"},
        stdin="deck file",
        env={"COLOUR": "light 'blue'", "DROPPED": None, "SLURM_*": None},
        pass_env=["LICENCE"],
    )
    with pytest.raises(ProgramError, match=r"\(sh rerun.sh there runs it again\)"):
        evaluate(objective)
    (folder,) = (tmp_path / "work").iterdir()
    assert "secret" not in (folder / "rerun.sh").read_text()
    (folder / "it's here").unlink()
    environ = {**os.environ, "DROPPED": "1"}
    again = subprocess.run(
        ["sh", folder / "rerun.sh"], check=False, cwd="/", env=environ, capture_output=True, text=True
    )
    assert again.returncode == 3, again.stderr
    assert again.stdout == (folder / "stdout").read_text() == "1.5 light 'blue' none secret'7 0\n"
    assert (folder / "it's here").exists()
    del environ["LICENCE"]
    without = subprocess.run(
        ["sh", folder / "rerun.sh"], check=False, cwd="/", env=environ, capture_output=True, text=True
    )
    assert without.returncode != 0
    assert "handed on by pass_env; set it first" in without.stderr


# ---- scripts


@pytest.mark.parametrize(
    ("argv", "options", "pattern"),
    [
        (["python3", "solver.py"], {}, r"solver\.py stands beside the configuration.*add copy: \[solver\.py\]$"),
        (["python3", "sub/solver.py"], {}, r"add copy: \[sub/solver\.py\], and write solver\.py in argv"),
        (["python3", "solvr.py"], {}, r"solvr\.py is not there"),
        (["python3", "solver.py"], {"copy": ["solver.py"]}, None),
        (["python3", "solver.py"], {"inputs": {"solver.py": "solver.py"}}, None),
        (["python3", "-c", "print(1)"], {}, None),
        (["sh", "-c", "echo > new.py"], {}, None),
    ],
)
def test_a_script_that_the_program_would_not_find(
    tmp_path: Path, argv: list[str], options: dict[str, Any], pattern: str | None
) -> None:
    (tmp_path / "sub").mkdir()
    for file in ("solver.py", "sub/solver.py"):
        (tmp_path / file).write_text("# {{ a }} {{ b }}")
    objective = program(tmp_path, argv, **options)
    if pattern is None:
        objective.check(X)
    else:
        with pytest.raises(InputError, match=pattern):
            objective.check(X)


# ---- what the user is told


def test_the_file_that_does_not_parse_is_shown(tmp_path: Path) -> None:
    output = {"J": {"file": "out.txt", "regex": r"^J = (\S+)"}}
    with pytest.raises(ProgramError, match=r"the regex '\^J = \(\\S\+\)' matches 0 times") as caught:
        evaluate(program(tmp_path, shell("seq 100 > out.txt; echo J=1 >> out.txt; echo bye"), outputs=output))
    assert caught.value.detail.startswith("--- the last lines of out.txt:\n82\n83\n")
    assert caught.value.detail.endswith("\nJ=1\n--- the last lines of stdout:\nbye")


def test_what_would_steer_the_terminal_is_not_shown(tmp_path: Path) -> None:
    code = "printf 'a\\033[2Jb\\tc\\0\\0d\\n'; head -c 5000 /dev/zero | tr '\\0' x; echo end; exit 1"
    with pytest.raises(ProgramError) as caught:
        evaluate(program(tmp_path, shell(code)))
    steered, long = caught.value.detail.splitlines()[-2:]
    assert steered == "a\ufffd[2Jb\tc\ufffdd"
    assert long == "... " + "x" * 997 + "end"


def test_a_binary_file_that_does_not_parse_is_not_shown(tmp_path: Path) -> None:
    output = {"J": {"file": "out.npy", "npy": 0}}
    with pytest.raises(ProgramError) as caught:
        evaluate(program(tmp_path, shell("head -c 100 /dev/zero > out.npy; echo bye"), outputs=output))
    assert caught.value.detail == "--- the last lines of stdout:\nbye"


def test_an_empty_output_says_what_else_there_is(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"output J of stdout: it is empty; there are: .*results\.csv"):
        evaluate(program(tmp_path, shell("touch results.csv"), outputs={"J": {"file": "stdout", "regex": "(1)"}}))


FAULTS = {
    "missing": ("no-such-program", "is not installed"),
    "exit code": ("seq 100; exit 3", "return code 3"),
    "no output": ("seq 100", "the program did not write it"),
    "cut output": ("seq 100; printf '{\"J\": 1' > out.json", "not JSON, or was cut"),
    "not UTF-8": ("seq 100; printf '{\"J\": \\377}' > out.json", "not JSON"),
    "signal": ("seq 100; kill -SEGV $$", r"signal 11 \(SIGSEGV\)"),
    "not finite": ("seq 100; echo '{\"J\": NaN}' > out.json", "J is nan"),
    "hang": ("seq 100; sleep 600", "still ran after 0.5 s"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("where", ["baseline", "last"])
def test_a_failure_names_coordinate_x_directory_and_the_last_lines(tmp_path: Path, fault: str, where: str) -> None:
    code, why = FAULTS[fault]
    (tmp_path / "deck.j2").write_text("{{ b }}")
    moved = "test 1 = 1" if where == "baseline" else "test $(cat deck) != 2"
    argv = shell(f"{moved} && {{ {code}; exit; }}; echo '{{\"J\": 1}}' > out.json")
    if fault == "missing":
        argv = ["no-such-program"]
    objective = program(tmp_path, argv, inputs={"deck": "deck.j2"}, outputs={"J": {"file": "out.json", "json": "/J"}})
    evaluator = Evaluator(objective, executor="serial", names=("a", "b"), timeout=0.5, retries=0)
    with evaluator, pytest.raises(EvaluationError, match=why) as caught:
        evaluator.gradient([1.0, 2.0])
    text = str(caught.value)
    at_baseline = where == "baseline" or fault == "missing"
    assert ("x itself (the baseline)" if at_baseline else "coordinate 1 ('b')") in text
    assert f"work directory {tmp_path}/work/evaluation-" in text
    if fault != "missing":
        said = [line.strip() for line in text.splitlines()]
        assert [line for line in said if line.isdigit()] == [str(k) for k in range(81, 101)]


# ---- programs that return early


@pytest.mark.parametrize(
    "start", ["(sleep 0.3; echo 'J = 3' > out.txt) &", "setsid sh -c \"sleep 0.3; echo 'J = 3' > out.txt\" &"]
)
def test_a_file_that_comes_after_the_program_is_waited_for(tmp_path: Path, start: str) -> None:
    output = {"J": {"file": "out.txt", "regex": r"^J = (\S+)"}}
    made = program(tmp_path, shell(start), outputs=output, wait_for={"file": "out.txt", "timeout": 20})
    assert evaluate(made) == 3.0


def test_what_is_waited_for_in_vain_is_named(tmp_path: Path) -> None:
    made = program(tmp_path, shell("sleep 60 & echo J = 1"), wait_for={"file": "out.txt", "timeout": 0.2})
    with pytest.raises(ProgramTimeout, match=r"wait_for: out\.txt was not there 0\.\d+ s after the program returned"):
        evaluate(made)
    for wrong in ({"timeout": 3}, {"file": "a", "timeout": 0}, {"file": "/a"}, "out.txt"):
        with pytest.raises(InputError, match="wait_for"):
            program(tmp_path, ["true"], wait_for=wrong)
