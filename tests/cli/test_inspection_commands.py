"""The command line beside ``run``: help, completion, suggestions, doctor, and what stays off the terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = ("run", "plan", "validate", "check", "status", "ls", "compare", "init", "doctor", "schema")
MODEL = """
import os, sys, time
def crash(x):
    print("J prints", flush=True)
    print("J complains", file=sys.stderr, flush=True)
    if x[1] != 1.0: os._exit(3)
    return float(x @ x)
"""


def distfd(*args: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "distfd", *args]
    return subprocess.run(
        command, check=False, cwd=cwd, env={**kept, **env}, capture_output=True, text=True, timeout=120
    )


def test_help_names_every_command_and_each_has_examples() -> None:
    top = distfd("--help")
    assert top.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", top.stdout, re.MULTILINE)
    one = distfd("status", "-h").stdout
    assert "Examples:\n    distfd status runs/" in one
    assert "--follow" in one


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_an_example_that_begins_with_it(command: str) -> None:
    shown = distfd(command, "--help").stdout
    assert f"\n    distfd {command}" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_version() -> None:
    assert re.match(r"distfd \d+\.\d+\.\d+.* \(python 3\.\d+\.\d+, ray ", distfd("--version").stdout)


def test_a_misspelt_command_or_option_is_answered_with_the_right_one() -> None:
    ran = distfd("docter")
    assert ran.returncode == 2
    assert "doctor" in ran.stderr
    ran = distfd("run", "--frehs", "x.yaml")
    assert ran.returncode == 2
    assert "--fresh" in ran.stderr


@pytest.mark.parametrize(("words", "expected"), [("distfd do", "doctor"), ("distfd run --sh", "--show-output")])
def test_the_shell_completes(words: str, expected: str) -> None:
    number = str(len(words.split()) - 1)
    ran = distfd(_DISTFD_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=number)
    assert expected in ran.stdout.split()


@pytest.mark.slow
def test_the_doctor_answers_with_the_code_of_what_is_wrong(tmp_path: Path) -> None:
    well = distfd("doctor", cwd=tmp_path)
    assert well.returncode == 0, well.stdout
    lost = distfd("doctor", "--json", cwd=tmp_path, RAY_ADDRESS="127.0.0.1:1")
    assert lost.returncode == 4
    found = json.loads(lost.stdout)
    assert found["exit_code"] == 4
    (cluster,) = [finding for finding in found["findings"] if finding["topic"] == "cluster"]
    assert cluster["level"] == "error"
    assert cluster["remedy"]
    (tmp_path / "job.yaml").write_text(
        "objective: {command: {argv: [no-such-solver], outputs: {J: {file: stdout, regex: (.*)}}}}\nx0: [1.0]\n"
    )
    assert distfd("doctor", "job.yaml", cwd=tmp_path).returncode == 2


@pytest.mark.slow
def test_init_without_a_program_writes_the_starter_and_a_deck_alone_is_refused(tmp_path: Path) -> None:
    ran = distfd("init", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "model.py"}
    assert distfd("validate", "config.yaml", cwd=tmp_path).returncode == 0
    assert distfd("init", cwd=tmp_path).returncode == 2
    refused = distfd("init", "--deck", "deck.inp", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--command" in refused.stderr


@pytest.mark.slow
def test_names_that_are_nearly_right(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    for name, meant in (("modle:crash", "'model'"), ("model:crahs", "'crash'")):
        (tmp_path / "job.yaml").write_text(f"objective: {{python: '{name}'}}\nx0: [1.0, 1.0]\n")
        ran = distfd("validate", "job.yaml", cwd=tmp_path)
        assert ran.returncode == 2
        assert f"did you mean {meant}?" in ran.stderr


def test_a_wrong_log_format() -> None:
    ran = distfd("run", "configs/tanks.yaml", "--log-format", "xml")
    assert ran.returncode == 2
    assert "text or json" in ran.stderr


@pytest.fixture
def crashing(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "job.yaml").write_text(
        "objective: {python: 'model:crash'}\nx0: [1.0, 1.0]\nevaluation: {retries: 0}\n"
        "cluster: {address: local, num_cpus: 1}\noutput: run\n"
    )
    return tmp_path


@pytest.mark.slow
def test_a_crash_is_told_by_distfd_and_not_by_ray(crashing: Path) -> None:
    ran = distfd("run", "job.yaml", cwd=crashing)
    assert ran.returncode == 3
    assert ran.stdout == ""
    assert "raylet" not in ran.stderr
    assert "J prints" not in ran.stderr
    assert "the worker process died" in ran.stderr
    assert f"what J printed is in {crashing / 'run' / 'output.log'}" in ran.stderr
    assert "A worker died" in (crashing / "run" / "ray.log").read_text()
    printed = (crashing / "run" / "output.log").read_text()
    assert "J prints\n" in printed
    assert "J complains\n" in printed


@pytest.mark.slow
def test_output_is_shown_on_request(crashing: Path) -> None:
    ran = distfd("run", "job.yaml", "--show-output", "evaluation.on_failure=nan", cwd=crashing)
    assert ran.returncode == 3
    assert "J prints" in ran.stderr
    assert "J complains" in ran.stderr
    assert "raylet" not in ran.stderr
    assert "partial: 3 evaluations" in ran.stdout
    assert "J prints" not in ran.stdout


@pytest.mark.slow
def test_json_alone_on_standard_error_and_nothing_when_quiet(crashing: Path) -> None:
    ran = distfd("run", "job.yaml", "--log-format", "json", cwd=crashing)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert {line["event"] for line in lines} >= {"remark", "wave_started", "failed", "wave_ended", "error"}
    assert (lines[-1]["event"], lines[-1]["exit_code"]) == ("error", ran.returncode)
    quiet = distfd("run", "job.yaml", "--quiet", "--fresh", "evaluation.on_failure=nan", cwd=crashing)
    assert quiet.stderr == ""
    assert quiet.returncode == 3
