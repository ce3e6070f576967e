"""Decks at the command line: what `plan` and `validate` say before anything runs, and steps where a value is 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from distfd.cli.commands import app
from distfd.errors import DistfdError

if TYPE_CHECKING:
    from pathlib import Path

JOB = """\
task: {task}
objective:
  command:
    argv: [sh, -c, 'touch {folder}/ran; cat deck']
    inputs: {{deck: deck.j2}}
    outputs: {{J: {{file: stdout, regex: '(\\S+)', which: first}}}}
parameters:
  - {{name: a, value: {a}{more}}}
  - {{name: b, value: 0.0{zero}}}
derivative: {{scheme: central, step: {step}}}
output: run
"""


def job(folder: Path, deck: str, **values: str) -> None:
    given = {"task": "gradient", "a": "2.0", "more": "", "zero": "", "step": "1.0e-3", "folder": str(folder), **values}
    (folder / "deck.j2").write_text(deck)
    (folder / "job.yaml").write_text(JOB.format(**given))


def distfd(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code, and what is printed, of a command in this process."""
    ran = CliRunner().invoke(app, [*arguments[:-1], str(folder / arguments[-1])])
    if isinstance(ran.exception, DistfdError):
        return ran.exception.exit_code, str(ran.exception)
    assert ran.exception is None, ran.exception
    return ran.exit_code, ran.output


@pytest.mark.parametrize(
    ("deck", "values", "told"),
    [
        ('{{ a | fmt("8.6f") }} {{ b }}', {"a": "9.9999"}, "differs in width"),
        ('{{ a | fmt("6.2f") }} {{ b }}', {}, 'fmt("6.2f") swallows it'),
        ("{{ a }} {{ 100*a | fmt('.2f') }} {{ b }}", {}, "no arithmetic"),
        ("{{ a }} {{ a | fmt('9.3f') }} {{ b }}", {"a": "2.0004"}, "write it alike"),
        ("{{ a }}", {}, "no template, edit or argument of objective.command uses b"),
        ("{{ a }}{{ b }}", {}, "touches"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "validate"])
def test_what_is_wrong_with_a_deck_is_told_before_anything_runs(
    tmp_path: Path, command: str, deck: str, values: dict[str, str], told: str
) -> None:
    job(tmp_path, deck, **values)
    code, said = distfd(tmp_path, command, "job.yaml")
    assert (code, told in " ".join(said.split())) == (2, True), said
    assert not (tmp_path / "ran").exists()


def test_what_nothing_uses_may_be_meant(tmp_path: Path) -> None:
    for zero in (", unused: ok", ", fixed: true"):
        job(tmp_path, "{{ a }}", zero=zero)
        assert distfd(tmp_path, "validate", "job.yaml")[0] == 0
    job(tmp_path, "{{ a }}", zero=", unused: yes")
    code, said = distfd(tmp_path, "validate", "job.yaml")
    assert code == 2
    assert "parameters.1.unused" in said


def test_the_plan_shows_the_steps(tmp_path: Path) -> None:
    job(tmp_path, "{{ a | fmt('.4f') }} {{ b }}", a="1.23456")
    code, said = distfd(tmp_path, "plan", "job.yaml")
    assert code == 0, said
    lines = said.splitlines()
    (a,) = [line for line in lines if line.startswith("steps:")]
    b = lines[lines.index(a) + 1]
    assert a.split(None, 1)[1] == "a      1.23456 + 0.00123456, as written + 0.0013"
    assert b.split(None, 1)[0:1] == ["b"]
    assert "+ 6.05545e-06  (relative to 0, so the scheme's own: give it a scale, or step: {absolute: h})" in b


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({"zero": ", step: {absolute: 0.1}"}, ["0.002", "0.1"]),
        ({"zero": ", scale: 5.0"}, ["0.002", "0.005"]),
        ({"zero": ", step: {absolute: 0.1}", "step": "null"}, ["1.21109e-05", "0.1"]),
        ({"zero": ", step: {absolute: 0.1}", "step": "{absolute: 0.3}"}, ["0.3", "0.1"]),
        ({"zero": ", step: {absolute: 0.1}", "more": ", step: 0.25"}, ["0.5", "0.1"]),
        ({"zero": ", step: {absolute: 0.1}", "step": "[0.25, 0.5]"}, ["0.5", "0.1"]),
    ],
)
def test_a_parameter_may_have_a_step_of_its_own_kind(tmp_path: Path, values: dict[str, str], steps: list[str]) -> None:
    job(tmp_path, "{{ a }} {{ b }}", **values)
    code, said = distfd(tmp_path, "plan", "job.yaml")
    assert code == 0, said
    lines = said.splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("steps:"))
    assert [line.split("+ ")[1] for line in lines[at : at + 2]] == steps


def test_a_step_of_its_own_is_refused_where_it_is_none(tmp_path: Path) -> None:
    for zero, told in (
        (", step: {absolute: 0}", "absolute"),
        (", step: {relative: 1}", "relative"),
        (", step: x", "{absolute: number}"),
    ):
        job(tmp_path, "{{ a }} {{ b }}", zero=zero)
        code, said = distfd(tmp_path, "validate", "job.yaml")
        assert code == 2
        assert told in said
    job(tmp_path, "{{ a }} {{ b }}", zero=", step: {absolute: 0.1}", step="auto")
    code, said = distfd(tmp_path, "plan", "job.yaml")
    assert code == 2
    assert "auto finds the step of every parameter, but b has a step of its own" in said


def test_value_may_name_parameters(tmp_path: Path) -> None:
    job(tmp_path, "{{ a }}")
    text = (tmp_path / "job.yaml").read_text()
    (tmp_path / "job.yaml").write_text(text.replace("parameters:", "    value: J + 2 * b\nparameters:"))
    assert distfd(tmp_path, "validate", "job.yaml")[0] == 0
    (tmp_path / "job.yaml").write_text(text.replace("parameters:", "    value: J + 2 * c\nparameters:"))
    code, said = distfd(tmp_path, "validate", "job.yaml")
    assert code == 2
    assert "objective.command.value" in said
    assert "is no output; known: J, a, b" in said
