"""Runs from strangers, by the commands: what is written, what is read, and what reaches the terminal."""

from __future__ import annotations

import csv
import json
import os
import re
import stat
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from strangers import distfd, sound_run, tree, within

from distfd.config.load import load_config
from distfd.errors import StoreError
from distfd.executors.serial import SerialExecutor
from distfd.jobs.run import Job
from distfd.reporting.log_file import read_log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRECIOUS = "the only copy of a thesis\n"
STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r"
MODEL = "def f(x):\n    return float(x @ x)\n"
CONFIG = "objective: {python: 'foreign_model:f'}\nx0: [1, 2]\noutput: run\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text(PRECIOUS)
    return tmp_path / "home"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A job of three evaluations in this process, in the current directory."""
    monkeypatch.setattr("distfd.jobs.run.make_executor", lambda *_, **__: SerialExecutor())
    (tmp_path / "foreign_model.py").write_text(MODEL)
    (tmp_path / "job.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "job.yaml"
    sys.modules.pop("foreign_model", None)


def run() -> None:
    Job(load_config("job.yaml"), lambda event: None, lambda text: None).run()


# --- nothing outside is written


@pytest.mark.parametrize(
    "name",
    [
        *("config.yaml", "result.json", "derivative.npz", "check.json", "report.html", "evaluations.csv"),
        *("log.jsonl", "output.log", "ray.log", "iterates.jsonl"),
        *("evaluations.sqlite", "evaluations.sqlite.lock", "work", "archive", "spool"),
    ],
)
def test_a_run_does_not_begin_where_a_link_stands_in_a_files_place(
    tmp_path: Path, job: Path, home: Path, name: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(home / "thesis.tex" if "." in name else home)
    before = tree(home)
    with pytest.raises(StoreError, match=rf"run/{name} is a link, and not the plain file"):
        run()
    assert tree(home) == before
    assert [path.name for path in (tmp_path / "run").iterdir()] == [name], "not even a lock is left"


@pytest.mark.parametrize("name", ["config.yaml", "result.json", "derivative.npz", "report.html", "evaluations.sqlite"])
def test_the_names_of_half_written_files_lead_nowhere(tmp_path: Path, job: Path, home: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f"{name}.part").symlink_to(home / "thesis.tex")
    run()
    assert distfd("report", "run", "--csv")[0] == 0
    assert (home / "thesis.tex").read_text() == PRECIOUS
    assert (tmp_path / "run" / f"{name}.part").is_symlink()


@pytest.mark.parametrize("name", ["log.jsonl", "output.log", "iterates.jsonl", "evaluations.sqlite"])
def test_a_file_that_is_added_to_has_one_name(tmp_path: Path, job: Path, home: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    os.link(home / "thesis.tex", tmp_path / "run" / name)
    with pytest.raises(StoreError, match="second name"):
        run()
    assert (home / "thesis.tex").read_text() == PRECIOUS


def test_a_page_and_tables_are_not_written_through_links(tmp_path: Path, home: Path) -> None:
    for name in ("report.html", "derivative.csv", "evaluations.csv"):
        path = sound_run(tmp_path / name.replace(".", "-"))
        (path / name).symlink_to(home / "thesis.tex")
        code, told = distfd("report", str(path), "--csv")
        assert (code, f"{name} is a link" in told) == (5, True)
    assert (home / "thesis.tex").read_text() == PRECIOUS


def test_an_earlier_run_is_put_aside_under_a_name_that_is_made(tmp_path: Path, job: Path) -> None:
    run()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    Job(load_config("job.yaml"), lambda event: None, lambda text: None).run(fresh=True)
    (aside,) = (path for path in tmp_path.iterdir() if path.name.startswith("run."))
    assert (aside / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("umask", [0, 0o022])
def test_all_that_is_made_is_its_owners(tmp_path: Path, job: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        (tmp_path / "deep").mkdir(mode=0o755)
        loaded = load_config("job.yaml", ["output=deep/er/run"])
        Job(loaded, lambda event: None, lambda text: None).run()
        assert distfd("report", "deep/er/run", "--csv")[0] == 0
        assert distfd("init", "--to", "deep/config.yaml")[0] == 0
    finally:
        os.umask(before)
    made = {
        path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("deep/**/*")
    }
    assert "deep/er/run/evaluations.csv" in made
    assert {name: f"{mode:o}" for name, mode in made.items() if mode & 0o077} == {}


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path, job: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o755)
    run()
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "run" / "result.json").stat().st_mode) == 0o600


# --- what is read


@pytest.mark.parametrize("name", ["evaluations.sqlite", "log.jsonl", "result.json", "config.yaml", "check.json"])
@pytest.mark.parametrize("kind", ["pipe", "zero"])
def test_pipes_and_devices_hang_nothing(tmp_path: Path, name: str, kind: str) -> None:
    path = sound_run(tmp_path / "run") / name
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with within(60):
        for args in (("status", str(path.parent)), ("report", str(path.parent))):
            code, told = distfd(*args)
            assert code in (0, 5)
            assert "bug" not in told


@pytest.mark.parametrize("key", ["job.yaml", "x0", "bounds"])
def test_pipes_in_the_place_of_configurations_and_vectors_hang_nothing(tmp_path: Path, job: Path, key: str) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    np.save(tmp_path / "x.npy", np.ones(2))
    config = {"x0": "pipe.npy" if key == "x0" else "x.npy"}
    bounds = ", bounds: {lower: pipe.npy}" if key == "bounds" else ""
    job.write_text(f"{{objective: {{python: 'foreign_model:f'}}, x0: {config['x0']}{bounds}, output: run}}\n")
    with within(60):
        code, told = distfd("validate", "pipe.npy" if key == "job.yaml" else "job.yaml")
    assert (code, "it is a named pipe, not a plain file" in told) == (2, True)


def test_a_pipe_in_the_place_of_measurements_hangs_nothing(tmp_path: Path) -> None:
    from distfd.errors import InputError
    from distfd.objectives.command.objective import CommandObjective

    os.mkfifo(tmp_path / "data.json")
    outputs = {"J": {"file": "stdout", "regex": "(.+)"}}
    with within(60), pytest.raises(InputError, match="it is a named pipe"):
        CommandObjective(["true"], outputs=outputs, data={"d": {"file": "data.json", "json": "/a"}}, base=tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "zero"])
def test_pipes_and_devices_in_the_place_of_decks_and_templates_hang_nothing(tmp_path: Path, kind: str) -> None:
    from distfd.errors import InputError
    from distfd.objectives.command.objective import CommandObjective
    from distfd.objectives.fmu.signals import _table

    deck = tmp_path / "deck.inp"
    os.mkfifo(deck) if kind == "pipe" else deck.symlink_to("/dev/zero")
    what = "it is a named pipe" if kind == "pipe" else "it is a device"
    with within(60):
        code, told = distfd("init", "--command", "true deck.inp", "--deck", str(deck), "--to", str(tmp_path / "j.yaml"))
        assert (code, what in told) == (2, True), told
        with pytest.raises(InputError, match=what):
            CommandObjective(["true"], inputs={"a": deck}, outputs={"J": {"file": "stdout", "regex": "(.+)"}})
        with pytest.raises(InputError, match=what):
            _table("inputs", deck)
    assert not (tmp_path / "j.yaml").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("names", [1]), ("n_evaluations", "many"), ("derivative", [1]), ("missing", 3), ("step", {"a": 1})],
        *[("x", None), ("consistency", 5), ("consistency", {"sentence": None}), ("unchecked", "some")],
        *[("only_in_arrays", 1), ("noise", {"status": "ok"}), ("noise", {"status": [], "level": 1.0})],
        ("fit", {"findings": [], "standard_error": [1.0] * 3, "lower": [1.0] * 3, "upper": [1.0] * 3}),
    ],
)
def test_a_result_that_is_none_is_told_of(tmp_path: Path, field: str, value: object) -> None:
    path = sound_run(tmp_path / "run")
    result = json.loads((path / "result.json").read_text())
    (path / "result.json").write_text(json.dumps({**result, field: value}))
    code, told = distfd("status", str(path))
    assert (code, "result.json is not what distfd writes" in told) == (5, True)
    assert distfd("report", str(path))[0] == 0


@pytest.mark.parametrize("field", ["slots", "wall_seconds", "message", "scheme", "noise", "warnings", "ideal_seconds"])
def test_a_result_that_lacks_a_field_is_shown_without_it(tmp_path: Path, field: str) -> None:
    path = sound_run(tmp_path / "run")
    result = json.loads((path / "result.json").read_text())
    del result[field]
    (path / "result.json").write_text(json.dumps(result))
    for args in (("status", str(path)), ("report", str(path)), ("ls", str(path))):
        code, told = distfd(*args)
        assert code == 0, told
    code, told = distfd("status", str(path))
    assert (code, "4 evaluations" in told) == (0, True), told


@pytest.mark.parametrize("slots", [2**31, 2**53, 2**63, 10**300, -1, 1e300])
def test_a_log_that_promises_any_number_of_slots_takes_no_memory(tmp_path: Path, slots: float) -> None:
    path = sound_run(tmp_path / "run")
    lines = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    for line in lines:
        if line["event"] == "wave_started":
            line["slots"] = slots
    (path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    tracemalloc.start()
    try:
        with within(300, computed=60):
            code, told = distfd("report", str(path))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (code, most < 500 * 2**20) == (0, True), told


@pytest.mark.parametrize("number", [2**63, 10**300, -1, 1e300])
def test_a_log_of_impossible_iterations_has_a_page_without_them(tmp_path: Path, number: float) -> None:
    path = sound_run(tmp_path / "run")
    entry = json.loads((path / "log.jsonl").read_text().splitlines()[0])
    entry |= {"event": "iterated", "value": 1.5, "gradient_norm": 2.0}
    with (path / "log.jsonl").open("a") as file:
        for iteration in (2, number):
            file.write(json.dumps({**entry, "iteration": iteration}) + "\n")
    code, told = distfd("report", str(path))
    assert code == 0, told
    assert [way[0] for session in read_log(path / "log.jsonl").sessions for way in session.iterations] == [1, 2]


# --- what reaches the terminal


def test_nothing_steers_the_terminal(tmp_path: Path) -> None:
    path = sound_run(tmp_path / f"run{STEERING[:6]}")
    result = json.loads((path / "result.json").read_text())
    names = [f"a{STEERING}", "b", "c"]
    result.update(names=names, missing=names[:1], message=STEERING, repaired={STEERING: STEERING})
    (path / "result.json").write_text(json.dumps(result))
    (path / "log.jsonl").write_text(
        json.dumps(
            {"time": "2027-01-15T08:00:00+00:00", "event": "attempt_failed", "point": STEERING, "cause": STEERING}
        )
    )
    told = "".join(distfd(*args)[1] for args in (("status", str(path)), ("report", str(path), "--csv")))
    (path / "result.json").unlink()
    told += "".join(distfd(*args)[1] for args in (("status", str(path)), ("status", f"nowhere{STEERING}")))
    assert "owned" in told
    assert not set(told) & set("\x1b\x07\x9b\u202e\r\x00")


@pytest.mark.parametrize(
    "args", [("status", "a", STEERING), ("run", f"--{STEERING}", "x"), (STEERING,), ("run", STEERING), ("ls", STEERING)]
)
def test_what_is_typed_does_not_steer_the_terminal(args: tuple[str, ...]) -> None:
    """As where a shell has put names of files in the place of *."""
    ran = subprocess.run([sys.executable, "-m", "distfd", *args], capture_output=True, check=False)
    told = (ran.stdout + ran.stderr).decode()
    assert ran.returncode == 2, told
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", told), told


def test_what_j_says_does_not_steer_the_terminal(job: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job.with_name("foreign_model.py").write_text(f"def f(x):\n    raise ValueError({STEERING!r} + 'told')\n")
    code, told = distfd("run", "job.yaml", "--evaluate", "x0")
    assert code == 3
    assert "told" in told
    code, more = distfd("run", "job.yaml", "-q", "--debug")
    assert code == 3
    assert "told" in more
    assert not set(told + more + capfd.readouterr().err) & set("\x1b\x07\x9b\u202e\r\x00")


# --- plan and validate import nothing, where that is asked for


def test_plan_and_validate_run_no_code_of_the_job_where_that_is_asked_for(tmp_path: Path, job: Path) -> None:
    job.with_name("foreign_model.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n{MODEL}")
    code, told = distfd("plan", "job.yaml", "--no-import", "derivative.check=false")
    assert (code, "evaluations:  3" in told) == (0, True)
    assert distfd("validate", "job.yaml", "--no-import")[0] == 0
    assert not (tmp_path / "imported").exists()
    assert distfd("validate", "job.yaml")[0] == 0
    assert (tmp_path / "imported").exists(), "which else it does"
    job.with_name("foreign_model.py").unlink()
    for task in ("gradient", "jacobian", "hessian", "noise", "minimize"):
        assert distfd("plan", "job.yaml", "--no-import", f"task={task}")[0] == 0
    (tmp_path / "command.yaml").write_text(
        "objective: {command: {argv: [no-such-solver], outputs: {J: {file: stdout, regex: '(.+)'}}}}\nx0: [1]\n"
    )
    for name in ("plan", "validate"):
        assert distfd(name, "command.yaml")[0] == 2
        assert distfd(name, "command.yaml", "--no-import")[0] == 0


# --- tables


def test_no_cell_of_a_table_is_a_formula(tmp_path: Path) -> None:
    path = sound_run(tmp_path / "run")
    result = json.loads((path / "result.json").read_text())
    result["names"] = ["=cmd|' /C calc'!A0", "-1.5", "@SUM(1)"]
    (path / "result.json").write_text(json.dumps(result))
    assert distfd("report", str(path), "--csv")[0] == 0
    with (path / "derivative.csv").open() as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows[1:]] == ["'=cmd|' /C calc'!A0", "-1.5", "'@SUM(1)"]
    assert rows[2][rows[0].index("derivative")] == "-2.5"
    assert stat.S_IMODE((path / "derivative.csv").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "lines",
    [
        ['{"about": "a", "start": [1, 2, 3]}'],
        ['{"about": "a", "start": [[1]]}'],
        ['{"about": "a", "start": ["x"]}'],
        ['{"about": "a", "start": [1e999]}', '{"iterate": 1, "value": 1, "x": [1, 2]}'],
        ['{"about": "a", "start": [1' + "0" * 400 + "]}"],
        ["[1]"],
        ['"start"'],
        ["5"],
        ["[" * 5000],
        ['{"decide": [], "value": 1}', '{"about": "a", "start": [0]}', '{"decide": [], "value": {}}'],
    ],
)
def test_a_journal_of_another_form_is_begun_anew_or_told_of(tmp_path: Path, lines: list[str]) -> None:
    from distfd.optimization.journal import Journal

    (tmp_path / "iterates.jsonl").write_text("\n".join(lines) + "\n")
    try:
        assert Journal(tmp_path / "iterates.jsonl", "a").start(np.zeros(1)).shape == (1,)
    except StoreError as error:
        assert "is damaged" in str(error)  # noqa: PT017  # either will do
