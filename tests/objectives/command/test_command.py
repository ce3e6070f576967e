"""External programs as objectives: what they are given, what is taken, and every way in which they fail."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from waiting import running

import distfd
from distfd.core.failures import EvaluationFailure, ProgramCrash, ProgramError, ProgramTimeout
from distfd.core.records import Status
from distfd.errors import InputError, MissingSimulatorError
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from pathlib import Path

X = np.array([1.5, -0.1])
JSON = {"J": {"file": "out.json", "json": "/J"}}


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def shell(code: str) -> list[str]:
    return ["sh", "-c", code]


def program(tmp_path: Path, argv: list[str] | None, **options: Any) -> CommandObjective:
    options = {"outputs": JSON, "names": ("a", "b"), "base": tmp_path, "work": tmp_path / "work", **options}
    return CommandObjective(argv, **options)


def evaluate(objective: CommandObjective, x: Any = X, timeout: float | None = 60.0) -> Any:
    return pickle.loads(pickle.dumps(objective)).make().evaluate(x, timeout=timeout)


def folders(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "work").iterdir())


SUM = (
    "import json; p = json.load(open('parameters.json')); json.dump({'J': sum(p.values()), **p}, open('out.json', 'w'))"
)


def test_parameters_are_always_written(tmp_path: Path) -> None:
    assert evaluate(program(tmp_path, python(SUM))) == 1.5 - 0.1
    assert folders(tmp_path) == []


def test_parameters_without_names(tmp_path: Path) -> None:
    outputs = {"J": {"file": "parameters.copy", "json": "/x1"}}
    argv = shell("cat parameters.json > parameters.copy")
    assert evaluate(program(tmp_path, argv, names=None, outputs=outputs)) == -0.1


def test_template_values_arrive_bit_for_bit(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text('[{{ a }}, {{ b }}, {{ x[0] }}, {{ x[1] | fmt(".3e") }}]')
    argv = shell("cp sub/deck.json out.json")
    outputs = {"J": {"file": "out.json", "json": ""}}
    x = np.array([1 / 3, np.nextafter(0.7, 1)])
    value = evaluate(program(tmp_path, argv, inputs={"sub/deck.json": "deck.j2"}, outputs=outputs), x)
    np.testing.assert_array_equal(value, [x[0], x[1], x[0], 0.7])


def test_a_parameter_may_be_called_x(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text('{"J": {{ x }}}')
    argv, inputs = shell("cat deck > out.json"), {"deck": "deck.j2"}
    assert evaluate(program(tmp_path, argv, names=("y", "x"), inputs=inputs)) == -0.1


def test_commands_in_a_row_share_the_folder_and_the_time(tmp_path: Path) -> None:
    commands = [
        shell("echo 1 > first; echo one"),
        shell("cat first > second; echo two"),
        shell("printf '{\"J\": ' > out.json; cat second >> out.json; echo '}' >> out.json"),
    ]
    assert evaluate(program(tmp_path, None, commands=commands, keep="all")) == 1
    (folder,) = folders(tmp_path)
    assert (folder / "stdout").read_text() == "one\ntwo\n"
    slow = [shell("sleep 2"), shell("sleep 600")]
    with pytest.raises(ProgramTimeout, match=r"sleep 600.*still ran after 3 s"):
        evaluate(program(tmp_path, None, commands=slow), timeout=3.0)


def test_copied_and_linked_files(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("2")
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "nodes").write_text("3")
    (tmp_path / "big.txt").write_text("4")
    argv = shell(
        'echo "[$(cat data.txt), $(cat mesh/nodes), $(cat big.txt)]" > out.json; echo 9 > data.txt; test -L big.txt'
    )
    outputs = {"J": {"file": "out.json", "json": ""}}
    objective = program(tmp_path, argv, copy=["data.txt", "mesh"], link=["big.txt"], outputs=outputs)
    np.testing.assert_array_equal(evaluate(objective), [2, 3, 4])
    assert (tmp_path / "data.txt").read_text() == "2"


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPPED", "1")
    monkeypatch.setenv("LICENCE", "7654321")
    argv = shell('echo "{\\"J\\": [$SET, ${DROPPED:-0}, $LICENCE]}" > out.json')
    objective = program(tmp_path, argv, env={"SET": 5, "DROPPED": None}, pass_env=["LICENCE"])
    monkeypatch.setenv("LICENCE", "8")  # as another node would have it
    np.testing.assert_array_equal(evaluate(objective), [5, 0, 7654321])
    assert "7654321" not in repr(objective)


def test_work_defaults_to_the_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    argv = shell('echo "{\\"J\\": 1}" > out.json; pwd')
    evaluate(program(tmp_path, argv, work=None, keep="all"))
    (folder,) = folders(tmp_path)
    assert (folder / "stdout").read_text() == f"{folder}\n"


def test_a_program_beside_the_config_and_one_written_from_a_template(tmp_path: Path) -> None:
    for name in ("solver", "deck.j2"):
        (tmp_path / name).write_text('#!/bin/sh\n# of {{ a }} and {{ b }}\necho "{\\"J\\": 1}" > out.json\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "solver").write_text("#!/bin/sh\necho '{\"J\": 1}' > out.json\n")
    for argv, inputs in ((["./solver"], {}), (["./made"], {"made": "deck.j2"})):
        objective = program(tmp_path, argv, inputs=inputs)
        objective.check(X)
        assert evaluate(objective) == 1


def test_odd_paths(tmp_path: Path) -> None:
    base = tmp_path / 'it\'s "odd"\n$(x) %s é'
    base.mkdir()
    (base / "deck.j2").write_text("{{ a }}")
    outputs = {"J": {"file": "stdout", "regex": "(.+)"}}
    objective = CommandObjective(
        ["cat", "d"], inputs={"d": "deck.j2"}, outputs=outputs, names=["a"], base=base, work=base
    )
    assert evaluate(objective, [2.0]) == 2
    with pytest.raises(ProgramError) as caught:
        evaluate(CommandObjective(["cat", "e"], outputs=outputs, base=base, work=base), [2.0])
    assert "\n" not in str(caught.value)


# ---- the value


def test_value_of_several_outputs(tmp_path: Path) -> None:
    outputs = {name: {"file": "out.json", "json": f"/{name}"} for name in ("J", "a", "b")}
    argv = python(SUM)
    assert evaluate(program(tmp_path, argv, outputs=outputs, value="J + 10 * max(0, a) ** 2")) == 1.4 + 22.5
    np.testing.assert_array_equal(evaluate(program(tmp_path, argv, outputs=outputs, value=["a", "2 * b"])), [1.5, -0.2])
    assert evaluate(program(tmp_path, argv, outputs=outputs, value=["a"])).shape == (1,)
    assert evaluate(program(tmp_path, argv, outputs=outputs, value=product)) == 1.5 * -0.1
    with pytest.raises(InputError, match="J, a, b"):
        program(tmp_path, argv, outputs=outputs)


def product(J: float, a: float, b: float) -> float:
    return a * b


def test_python_extractor(tmp_path: Path) -> None:
    (tmp_path / "extract.py").write_text(
        "import numpy as np\ndef read(folder):\n    return np.loadtxt(folder / 'stdout')[1:]\n"
    )
    assert list(evaluate(program(tmp_path, shell("echo 1 2 3"), outputs={"J": {"python": "extract:read"}}))) == [2, 3]
    with pytest.raises(ProgramError, match=r"extract:read raised ValueError") as caught:
        evaluate(program(tmp_path, shell("echo 1 two 3"), outputs={"J": {"python": "extract:read"}}))
    assert "loadtxt" in caught.value.detail


def test_a_value_that_is_not_finite_keeps_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="J is nan; work directory") as caught:
        evaluate(program(tmp_path, shell('echo said; echo "{\\"J\\": NaN}" > out.json')))
    assert "said" in caught.value.detail
    (folder,) = (tmp_path / "work").iterdir()
    assert str(folder) in str(caught.value)
    assert (folder / "out.json").exists()


# ---- failures


FAILURES: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "missing": (
        ["no-such-program"],
        {"hint": "apt-get install it"},
        r"no-such-program is not installed: apt-get install it",
    ),
    "not executable": (["./plain.txt"], {}, "cannot be started: Permission denied"),
    "non-zero": (shell("echo why >&2; exit 7"), {}, "return code 7"),
    "no output": (shell("true"), {}, r"return code 0, but output J of out.json: the program did not write it"),
    "empty output": (shell(": > out.json"), {}, "out.json: it is empty"),
    "output is a folder": (shell("mkdir out.json"), {}, "out.json"),
    "stale output": (shell("true"), {"copy": ["out.json"]}, "out.json: it is stale"),
    "cut output": (shell("echo '{\"J\": 1' > out.json"), {}, "out.json: it is not JSON, or was cut"),
    "text": (shell('echo \'{"J": "high"}\' > out.json'), {}, "out.json: 'high' is not a number"),
    "not UTF-8": (shell(r"printf '{\"J\": \377}' > out.json"), {}, "not JSON"),
    "fails_if": (
        shell("echo 'solver DIVERGED at 3'; echo '{\"J\": 1}' > out.json"),
        {"fails_if": "DIVERGED"},
        "fails_if matches: solver DIVERGED at 3",
    ),
}


@pytest.mark.parametrize("fault", list(FAILURES))
def test_failures_are_named(tmp_path: Path, fault: str) -> None:
    (tmp_path / "plain.txt").write_text("no program")
    (tmp_path / "out.json").write_text('{"J": 5}')
    argv, options, pattern = FAILURES[fault]
    with pytest.raises(ProgramError, match=pattern) as caught:
        evaluate(program(tmp_path, argv, **options))
    (folder,) = folders(tmp_path)
    assert caught.value.status is Status.ERROR
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (folder / "parameters.json").exists()
    assert pickle.loads(pickle.dumps(caught.value)).detail == caught.value.detail


def test_value_that_cannot_be_computed(tmp_path: Path) -> None:
    outputs = {"u": {"file": "out.json", "json": "/u"}, "v": {"file": "out.json", "json": "/v"}}
    argv = shell('echo "{\\"u\\": [1, 2], \\"v\\": [1, 2, 3]}" > out.json')
    with pytest.raises(ProgramError, match=r"value cannot be computed.*ValueError"):
        evaluate(program(tmp_path, argv, outputs=outputs, value="dot(u, v)"))


def test_copied_output_that_the_program_rewrites_is_new(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text('{"J": 5}')
    assert evaluate(program(tmp_path, shell("cat out.json > t; cat t > out.json"), copy=["out.json"])) == 5
    (tmp_path / "deck.j2").write_text('{"J": {{ a }}}')
    with pytest.raises(ProgramError, match="stale"):
        evaluate(program(tmp_path, shell("true"), inputs={"out.json": "deck.j2"}))


def test_crash_names_the_signal(tmp_path: Path) -> None:
    with pytest.raises(ProgramCrash, match=r"signal 11 \(SIGSEGV\)") as caught:
        evaluate(program(tmp_path, shell("kill -SEGV $$")))
    assert caught.value.status is Status.CRASH


def test_timeout_leaves_no_process(tmp_path: Path) -> None:
    argv = shell("trap '' TERM; echo $$ > pid; setsid sh -c 'echo $$ > ../../pid; exec sleep 600' & wait; sleep 600")
    with pytest.raises(ProgramTimeout, match="still ran after 2 s") as caught:
        evaluate(program(tmp_path, argv), timeout=2.0)
    assert caught.value.status is Status.TIMEOUT
    (folder,) = folders(tmp_path)
    assert not running(int((folder / "pid").read_text()))
    assert not running(int((tmp_path / "pid").read_text()))


def test_a_failed_program_leaves_no_process_in_another_session(tmp_path: Path) -> None:
    argv = shell(
        f"cd {tmp_path}; setsid sh -c 'echo $$ > pid; exec sleep 600' & "
        f"while ! test -s {tmp_path}/pid; do sleep 0.01; done; exit 1"
    )
    with pytest.raises(ProgramError):
        evaluate(program(tmp_path, argv))
    assert not running(int((tmp_path / "pid").read_text()))


def test_detail_has_the_last_lines(tmp_path: Path) -> None:
    argv = shell(r"seq 0 999 | sed 's/^/out /'; printf 'bad \377\n' >&2; exit 1")
    with pytest.raises(ProgramError) as caught:
        evaluate(program(tmp_path, argv))
    lines = caught.value.detail.splitlines()
    assert "out 999" in lines
    assert "out 980" in lines
    assert "out 979" not in lines
    assert any(line.startswith("bad ") for line in lines)


def flooded(tmp_path: Path) -> int:
    """Bytes by which the most memory that this process ever had has grown with a sparse gigabyte on stdout."""
    flood = "import os; os.ftruncate(1, 2**30); os.lseek(1, 0, 2); os.write(1, b'the end\\n'); "
    evaluate(program(tmp_path, python(SUM)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert evaluate(program(tmp_path, python(flood + SUM))) == 1.4
    with pytest.raises(ProgramError, match=r"stdout: it is too large: 1024 MiB"):
        evaluate(program(tmp_path, python(flood), outputs={"J": {"file": "stdout", "regex": "(1)"}}))
    with pytest.raises(ProgramError) as caught:
        evaluate(program(tmp_path, python(flood + "raise SystemExit(1)")))
    assert caught.value.detail.endswith("the end")
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def test_a_gigabyte_of_output_costs_no_memory(tmp_path: Path) -> None:
    """In a process where nothing else takes memory meanwhile."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(flooded, (tmp_path,)) < 50e6


@pytest.mark.parametrize(("keep", "after_success", "after_failure"), [("failed", 0, 1), ("all", 1, 2), ("none", 0, 0)])
def test_keep(tmp_path: Path, keep: str, after_success: int, after_failure: int) -> None:
    evaluate(program(tmp_path, python(SUM), keep=keep))
    assert len(folders(tmp_path)) == after_success
    with pytest.raises(ProgramError) as caught:
        evaluate(program(tmp_path, shell("exit 1"), keep=keep))
    assert len(folders(tmp_path)) == after_failure
    assert (str(tmp_path / "work") in str(caught.value)) == bool(after_failure)


def test_wrong_points_are_refused(tmp_path: Path) -> None:
    model = program(tmp_path, python(SUM)).make()
    for x in (np.array([1.0]), np.array([1.0, 2j])):
        with pytest.raises(InputError):
            model.evaluate(x, timeout=None)
    model.close()


# ---- what is checked before anything runs


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"argv": "solver deck.in"}, r'\["solver", "deck.in"\]'),
        ({"argv": []}, "argv"),
        ({"argv": None}, "exactly one of argv and commands"),
        ({"commands": [["a"]]}, "exactly one of argv and commands"),
        ({"argv": None, "commands": []}, "nothing to run"),
        ({"argv": ["a\0b"]}, "argv"),
        ({"outputs": {}}, "outputs is empty"),
        ({"outputs": {"J": {"file": "f"}}}, "outputs: J"),
        ({"value": "K"}, "K.*is no output; known: J"),
        ({"value": 3}, "value"),
        ({"value": []}, "value"),
        ({"keep": "some"}, "keep"),
        ({"names": ["a", "a"]}, "names"),
        ({"fails_if": "("}, "fails_if"),
        ({"copy": ["nowhere.dat"]}, r"copy: .*nowhere\.dat does not exist"),
        ({"copy": "nowhere.dat"}, "copy is a list"),
        ({"link": ["nowhere.dat"]}, "link: "),
        ({"inputs": {"d": "nowhere.j2"}}, r"nowhere\.j2"),
        ({"inputs": {"/etc/d": "deck.j2"}}, "would leave the work directory"),
        ({"inputs": {"a/../../d": "deck.j2"}}, "would leave the work directory"),
        ({"inputs": {"d\0": "deck.j2"}}, "not the name of a file"),
        ({"inputs": {"": "deck.j2"}}, "not the name of a file"),
        ({"inputs": {".": "deck.j2"}}, "would leave"),
        ({"inputs": {"parameters.json": "deck.j2"}}, "two files"),
        ({"inputs": {"deck.j2": "deck.j2"}, "copy": ["deck.j2"]}, "two files"),
        ({"inputs": {"mesh/d": "deck.j2"}, "link": ["mesh"]}, "through the link 'mesh'"),
        ({"link": ["deck.j2"], "outputs": {"J": {"file": "deck.j2", "json": ""}}}, "through the link"),
        ({"env": {"A=B": "c"}}, "env"),
        ({"env": {"A": True}}, "env: A .*quotes"),
        ({"pass_env": ["NOT_SET_ANYWHERE"]}, "NOT_SET_ANYWHERE"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], pattern: str) -> None:
    (tmp_path / "deck.j2").write_text("{{ a }}")
    (tmp_path / "mesh").mkdir()
    argv = options.pop("argv", ["true"])
    with pytest.raises(InputError, match=pattern):
        program(tmp_path, argv, **options)


def test_check_finds_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text("{{ a }}\n{{ bb }}\n")
    program(tmp_path, ["sh"]).check(X)
    with pytest.raises(MissingSimulatorError, match="no-such-program is not installed: apt-get install it"):
        program(tmp_path, None, commands=[["sh"], ["no-such-program"]], hint="apt-get install it").check(X)
    with pytest.raises(MissingSimulatorError, match="nowhere"):
        program(tmp_path, ["./nowhere"]).check(X)
    with pytest.raises(InputError, match=r"deck\.j2:2: 'bb' is undefined; known: a, b, x"):
        program(tmp_path, ["sh"], inputs={"d": "deck.j2"}).check(X)
    with pytest.raises(InputError, match="no_such_module"):
        program(tmp_path, ["sh"], outputs={"J": {"python": "no_such_module:f"}}).check(X)
    (tmp_path / "data").write_text("1")
    objective = program(tmp_path, ["sh"], copy=["data"])
    (tmp_path / "data").unlink()
    with pytest.raises(InputError, match="data does not exist"):
        objective.check(X)


def test_check_looks_along_the_programs_own_path(tmp_path: Path) -> None:
    (tmp_path / "own-solver").write_text("#!/bin/sh\necho '{\"J\": 1}' > out.json\n")
    (tmp_path / "own-solver").chmod(0o755)
    objective = program(tmp_path, ["own-solver"], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    objective.check(X)
    assert evaluate(objective) == 1


def test_template_errors_are_found_at_evaluation_too(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text("{{ 1 / (a - 1.5) }}")
    with pytest.raises(InputError, match=r"deck\.j2:1: float division by zero"):
        evaluate(program(tmp_path, ["true"], inputs={"d": "deck.j2"}))


def test_templates_travel_with_the_objective(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text('{"J": {{ a }}}')
    carried = pickle.dumps(program(tmp_path, ["cp", "d", "out.json"], inputs={"d": "deck.j2"}))
    (tmp_path / "deck.j2").unlink()
    assert pickle.loads(carried).make().evaluate(X, timeout=None) == 1.5


# ---- identity


def make_files(tmp_path: Path) -> None:
    for name in ("deck.j2", "data", "big", "solver", "extract.py", "model.py"):
        (tmp_path / name).write_text("1\n")
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "nodes").write_text("1")


def full(tmp_path: Path, **changes: Any) -> str | None:
    outputs = {"J": {"file": "f", "json": ""}, "K": {"python": "extract:read"}}
    options: dict[str, Any] = {
        "inputs": {"d": "deck.j2"},
        "copy": ["data", "mesh"],
        "link": ["big"],
        "outputs": outputs,
        "value": "J + K",
        "env": {"A": "1"},
        **changes,
    }
    argv = options.pop("argv", ["./solver", str(tmp_path / "model.py")])
    return program(tmp_path, argv, **options).fingerprint()


def test_fingerprint_is_stable_and_of_what_matters(tmp_path: Path) -> None:
    make_files(tmp_path)
    first = full(tmp_path)
    assert first == full(tmp_path, hint="x", work=tmp_path / "elsewhere", keep="all")
    changed = [
        full(tmp_path, argv=["./solver", "-v", str(tmp_path / "model.py")]),
        full(tmp_path, value="J + 2 * K"),
        full(tmp_path, env={"A": "2"}),
        full(tmp_path, names=("a", "c")),
        full(tmp_path, version="2"),
        full(tmp_path, fails_if="x"),
        full(tmp_path, outputs={"J": {"file": "g", "json": ""}, "K": {"python": "extract:read"}}),
    ]
    for name in ("deck.j2", "data", "big", "solver", "extract.py", "model.py", "mesh/nodes"):
        (tmp_path / name).write_text("2\n")
        changed.append(full(tmp_path))
    assert None not in changed
    assert len({first, *changed}) == len(changed) + 1


def test_fingerprint_of_a_function_needs_a_version(tmp_path: Path) -> None:
    assert program(tmp_path, ["true"], value=product).fingerprint() is None
    assert program(tmp_path, ["true"], value=product, version="1").fingerprint() is not None


def test_failures_are_exceptions_with_a_status() -> None:
    for kind, status in ((ProgramError, Status.ERROR), (ProgramCrash, Status.CRASH), (ProgramTimeout, Status.TIMEOUT)):
        failure = pickle.loads(pickle.dumps(kind("text", "detail")))
        assert isinstance(failure, EvaluationFailure)
        assert (failure.status, str(failure), failure.detail) == (status, "text", "detail")


def test_a_parameter_that_no_template_uses_is_told(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text("A = {{ mass }}\n")
    options: dict[str, Any] = {"inputs": {"deck": "deck.j2"}, "outputs": {"J": {"file": "stdout", "regex": "(.*)"}}}
    made = CommandObjective(["true"], base=tmp_path, names=("mass", "width"), **options)
    with pytest.warns(UserWarning, match="no template uses width"):
        made.check([1.0, 2.0])
    CommandObjective(["true"], base=tmp_path, names=("mass",), **options).check([1.0])
    (tmp_path / "deck.j2").write_text("A = {{ x | join(' ') }}\n")
    CommandObjective(["true"], base=tmp_path, names=("mass", "width"), **options).check([1.0, 2.0])


def test_names_given_to_a_call_are_the_programs_too(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text("{{ mass }}\n")
    outputs = {"J": {"file": "stdout", "regex": "(.+)"}}
    made = CommandObjective(["cat", "deck"], base=tmp_path, inputs={"deck": "deck.j2"}, outputs=outputs)
    assert distfd.gradient(made, [1.0], names=["mass"], executor="serial") == pytest.approx([1.0])
    own = CommandObjective(["cat", "deck"], base=tmp_path, inputs={"deck": "deck.j2"}, outputs=outputs, names=["mass"])
    assert distfd.gradient(own, [1.0], names=["weight"], executor="serial") == pytest.approx([1.0])
    assert (made.names, own.names) == (None, ("mass",))
    assert made.named(["x0"]).fingerprint() == made.fingerprint()


def test_own_programs_are_in_the_fingerprint_by_absolute_paths_too(tmp_path: Path) -> None:
    """A configuration makes ./solver absolute; a program elsewhere is installed, and is not read."""
    make_files(tmp_path)
    elsewhere = tmp_path.with_name(tmp_path.name + "-installed")
    elsewhere.write_text("1\n")
    own = [str(tmp_path / "solver")]
    before, installed = full(tmp_path, argv=own), full(tmp_path, argv=[str(elsewhere)])
    (tmp_path / "solver").write_text("2\n")
    elsewhere.write_text("2\n")
    assert full(tmp_path, argv=own) != before
    assert full(tmp_path, argv=[str(elsewhere)]) == installed
