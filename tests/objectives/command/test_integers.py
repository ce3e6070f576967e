"""Parameters that are whole numbers: written without a point, moved by whole steps, never rounded in silence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.config.load import load_config
from distfd.errors import ConfigError, InputError
from distfd.executors.serial import SerialExecutor
from distfd.jobs.build import make_evaluator, make_objective
from distfd.jobs.preview import preview
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from pathlib import Path

JOB = """\
task: {task}
objective:
  command:
    argv: [awk, '{{{{printf "%.12g\n", $1 * $1 + $2}}}}', deck]
    inputs: {{deck: deck.j2}}
    outputs: {{J: {{file: stdout, regex: '(.+)'}}}}
parameters:
  - {{name: n, value: 10, type: integer{more}}}
  - {{name: a, value: 0.5}}
derivative: {{scheme: {scheme}, step: {step}}}
"""


def load(folder: Path, deck: str = "{{ n }} {{ a }}\n", **given: str) -> Any:
    (folder / "deck.j2").write_text(deck)
    values = {"task": "gradient", "more": "", "scheme": "central", "step": "1.0e-3", **given}
    (folder / "job.yaml").write_text(JOB.format(**values))
    return load_config(folder / "job.yaml")


def gradient(loaded: Any) -> Any:
    problem = loaded.config.problem()
    objective = make_objective(loaded, problem)
    with make_evaluator(loaded.config, problem, objective, executor=SerialExecutor()) as evaluator:
        return evaluator.differentiate(problem.x0)


@pytest.mark.parametrize(
    "mark", ["{{ n }}", '{{ n | fmt("4d") }}', '{{ "%4d" % n }}', "{{ 2 * n - n }}", "{{ n | fmt('6.1f') }}"]
)
def test_steps_are_whole(tmp_path: Path, mark: str) -> None:
    found = gradient(load(tmp_path, f"{mark} {{{{ a }}}}\n"))
    np.testing.assert_allclose(found.derivative, [20.0, 1.0], rtol=1e-9)
    assert found.step == pytest.approx([1.0, 0.5e-3])
    found = gradient(load(tmp_path, f"{mark} {{{{ a }}}}\n", more=", step: {absolute: 3}", scheme="forward"))
    np.testing.assert_allclose(found.derivative, [23.0, 1.0], rtol=1e-9)


def test_it_is_written_as_one(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text('{{ n }}|{{ n | fmt("4d") }}|{{ a }}|{{ x[0] }}|{{ n / 4 }}\n')
    made = CommandObjective(
        ["sh", "-c", "cat deck parameters.json >&2; echo 1"],
        inputs={"deck": "deck.j2"},
        outputs={"J": {"file": "stdout", "regex": "(.+)"}},
        names=("n", "a"),
        integers=("n",),
        base=tmp_path,
        work=tmp_path / "work",
        keep="all",
    )
    made.make().evaluate(np.array([10.0, 2.0]))
    (folder,) = (tmp_path / "work").iterdir()
    assert (folder / "deck").read_text() == "10|  10|2|10|2.5\n"
    assert (folder / "parameters.json").read_text() == json.dumps({"n": 10, "a": 2.0}, indent=1) + "\n"


def test_a_value_between_is_an_error(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    objective = make_objective(loaded, loaded.config.problem())
    with pytest.raises(InputError, match=r"n is of type integer, and 10\.5 is no whole number.*step: \{absolute: 1\}"):
        objective.make().evaluate(np.array([10.5, 1.0]), timeout=None)
    with pytest.raises(InputError, match="n is of type integer"):
        distfd.gradient(objective, [10.0, 1.0], executor="serial")


@pytest.mark.parametrize(
    ("deck", "pattern"),
    [
        ('{{ (n / 3) | fmt(".1f") }} {{ a }}\n', "known only if six digits"),
        ('{{ n | fmt("2d") }} {{ a }}\n', "differs in width"),
        ("{% for k in range(n) %}{{ k }} {% endfor %}{{ a }}\n", "is built differently"),
        ("{{ n // 4 }} {{ a }}\n", "swallows it"),
    ],
)
def test_what_does_not_follow_it_is_refused(tmp_path: Path, deck: str, pattern: str) -> None:
    more = ", step: {absolute: 1}" if "2d" not in deck else ", step: {absolute: 95}"
    scheme = "forward"
    with pytest.raises(InputError, match=rf"n \(coordinate 0\).*{pattern}"):
        preview(load(tmp_path, deck, more=more, scheme=scheme))


@pytest.mark.parametrize(
    ("given", "pattern"),
    [
        ({"more": ", step: 0.1"}, "its step is a whole number"),
        ({"more": ", step: {absolute: 0.5}"}, "its step is a whole number"),
        ({"more": ", lower: 0.5"}, "is of type integer, and this is no whole number"),
        ({"task": "minimize"}, "n is of type integer, and an optimiser looks for values between"),
    ],
)
def test_wrong_keys_are_told(tmp_path: Path, given: dict[str, str], pattern: str) -> None:
    with pytest.raises(ConfigError, match=pattern):
        load(tmp_path, **given)


def test_auto_finds_no_whole_steps(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="auto finds the step of every parameter, but n has a step of its own"):
        preview(load(tmp_path, step="auto"))
