"""Standard deviations by the names of outputs and data: a program's and an FMU's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fmus import load_builder

import distfd
from distfd.config.load import load_config
from distfd.core.errors import ConfigError, InputError
from distfd.jobs.build import make_objective, sigma_of
from distfd.objectives.command.expression import Expression
from distfd.objectives.command.value_parts import expression_length
from distfd.objectives.output_parts import OutputPart, part_lengths
from distfd.optimization.weighting import SigmaByName, make_weighting

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequireSimulator

T = np.array([0.0, 1.0, 2.0, 4.0])
SEEN = {"level": np.array([2.02, 1.4, 0.97, 0.52]), "temp": np.array([21.0, 29.0])}
PROGRAM = """\
import json, math
p = json.load(open("parameters.json"))
with open("out.csv", "w") as file:
    file.write("level\\n")
    for t in (0.0, 1.0, 2.0, 4.0):
        file.write(f"{p['a'] * math.exp(-p['k'] * t)!r}\\n")
json.dump({"temp": [10 * p["a"], 10 * p["a"] + 20 * p["k"]], "end": p["k"]}, open("out.json", "w"))
"""
OUTPUTS = {
    "level": {"file": "out.csv", "csv": {"column": "level", "row": "all"}},
    "temp": {"file": "out.json", "json": "/temp"},
    "end": {"file": "out.json", "json": "/end"},
}
DATA = {
    "seen": {"file": "seen.csv", "csv": {"column": "level", "row": "all"}},
    "warm": {"file": "warm.csv", "csv": {"column": "temp", "row": "all"}},
}
VALUE = ["level - seen", "temp - warm", "end - 0.4"]


def program(folder: Path, **options: Any) -> distfd.CommandObjective:
    (folder / "model.py").write_text(PROGRAM)
    rows = (f"{t},{level}\n" for t, level in zip(T, SEEN["level"], strict=True))
    (folder / "seen.csv").write_text("time,level\n" + "".join(rows))
    (folder / "warm.csv").write_text("temp\n21.0\n29.0\n")
    given: dict[str, Any] = {"outputs": OUTPUTS, "data": DATA, "value": VALUE, "names": ["a", "k"]}
    return distfd.CommandObjective([sys.executable, str(folder / "model.py")], base=folder, **{**given, **options})


def fit(objective: Any, **options: Any) -> Any:
    return distfd.least_squares(objective, [1.5, 0.2], executor="serial", names=["a", "k"], **options)


@pytest.mark.parametrize("method", ["trf", "model"])
def test_it_is_the_same_as_the_list_written_out(tmp_path: Path, method: Any) -> None:
    objective = program(tmp_path)
    named = fit(objective, method=method, sigma={"level": 0.02, "warm": 0.5, "end": 0.1})
    listed = fit(objective, method=method, sigma=[0.02] * 4 + [0.5] * 2 + [0.1])
    np.testing.assert_array_equal(named.x, listed.x)
    np.testing.assert_array_equal(named.standard_errors, listed.standard_errors)
    np.testing.assert_array_equal(named.sigma, [0.02] * 4 + [0.5] * 2 + [0.1])
    assert named.absolute_sigma
    other = fit(objective, method=method, sigma=0.1)
    assert np.abs(other.x - named.x).max() > 1e-4, "the weights matter"


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        ({"levl": 1, "temp": 1, "end": 1}, r"sigma: levl: is the name of no output or data .*did you mean .level.\?"),
        ({"level": 1, "temp": 1}, r"sigma: there is none for end - 0\.4; add one for end"),
        ({"level": 1, "seen": 1, "temp": 1, "end": 1}, r"sigma: seen: level - seen has one already, that of level"),
        ({"level": 0, "temp": 1, "end": 1}, r"sigma: level: must be a finite number > 0 \(was 0\)"),
        ({"level": [1, 2], "temp": 1, "end": 1}, r"sigma: level: must be a finite number"),
    ],
)
def test_mistakes_are_named_before_anything_runs(tmp_path: Path, sigma: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(program(tmp_path), sigma=sigma)
    assert not list(tmp_path.glob("out.*"))


def test_a_function_has_no_names() -> None:
    with pytest.raises(InputError, match="sigma: J's outputs have no names here"):
        distfd.least_squares(lambda x: x - 1, [0.0, 2.0], sigma={"level": 1}, executor="serial")


def test_parts_that_only_an_evaluation_tells_apart(tmp_path: Path) -> None:
    one = fit(program(tmp_path, data={}, value=["level", "sum(temp)"]), sigma={"level": 2.0, "temp": 4.0})
    np.testing.assert_array_equal(one.sigma, [2, 2, 2, 2, 4])
    with pytest.raises(InputError, match="cannot be told which of them come from which of level, temp: give a list"):
        fit(program(tmp_path, data={}, value=["level", "temp"]), sigma={"level": 2.0, "temp": 4.0})


@pytest.mark.parametrize(
    ("lengths", "m", "expected"),
    [
        ((3, 2), 5, (3, 2)),
        ((3, 2), 6, None),
        ((3, None), 5, (3, 2)),
        ((3, None), 3, None),
        ((None, None), 2, (1, 1)),
        ((None, None), 3, None),
        ((3, 2), None, (3, 2)),
        ((3, None), None, None),
    ],
)
def test_lengths_of_parts(lengths: Any, m: int | None, expected: Any) -> None:
    assert part_lengths([OutputPart("a", ("a",), length) for length in lengths], m) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a - b", 5),
        ("unknown - b", 5),
        ("unknown", None),
        ("unknown - 1", None),
        ("-b", 5),
        ("b[1:4]", 3),
        ("b[-1]", 1),
        ("unknown[1:]", None),
        ("sqrt(b)", 5),
        ("norm(unknown - b)", 1),
        ("max(b)", 1),
        ("max(b, 0)", 5),
        ("interp(b, unknown, unknown) - b", 5),
        ("where(unknown > 1, b, 0)", 5),
        ("2 * one", 1),
    ],
)
def test_lengths_of_expressions(text: str, expected: int | None) -> None:
    lengths = {"a": 5, "b": 5, "one": 1, "unknown": None}
    assert expression_length(Expression(text, tuple(lengths)), lengths) == expected


def test_noise_is_weighted_as_by_the_list() -> None:
    parts = (OutputPart("a", ("a",), 3), OutputPart("b", ("b",), 1))
    free = np.zeros(1, dtype=bool)
    named = make_weighting({"a": 0.1, "b": 2.0}, None, ["x0"], free, parts)
    assert isinstance(named.sigma, SigmaByName)
    assert named.per_noise == make_weighting([0.1, 0.1, 0.1, 2.0], None, ["x0"], free).per_noise


YAML = """\
task: {task}
objective:
  command:
    argv: [python3, model.py]
    copy: [model.py]
    outputs:
      level: {{file: out.csv, csv: {{column: level, row: all}}}}
      temp: {{file: out.json, json: /temp}}
    data:
      seen: {{file: seen.csv, csv: {{column: level, row: all}}}}
    value: [level - seen, temp]
    sigma: {sigma}
parameters:
  - {{name: a, value: 1}}
  - {{name: k, value: 1}}
output: run
"""


def test_in_yaml(tmp_path: Path) -> None:
    program(tmp_path)
    (tmp_path / "job.yaml").write_text(YAML.format(task="least_squares", sigma="{level: 0.1, temp: 2}"))
    loaded = load_config(tmp_path / "job.yaml")
    assert sigma_of(loaded.config) == {"level": 0.1, "temp": 2.0}
    parts = make_objective(loaded, loaded.config.problem()).output_parts
    weighting = make_weighting(sigma_of(loaded.config), None, ["a", "k"], np.zeros(2, dtype=bool), parts)
    np.testing.assert_allclose(weighting.values(np.ones(6), None, np.ones(2)), [10, 10, 10, 10, 0.5, 0.5])


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (
            "{levl: 0.1, temp: 2}",
            r"job\.yaml:\d+:\d+: objective\.command\.sigma\.levl: is the name of no output .*level",
        ),
        ("{level: 0.1}", r"job\.yaml:\d+:\d+: objective\.command\.sigma: there is none for temp; add one for temp"),
        ("{level: 0.1, seen: 1, temp: 2}", r"sigma\.seen: level - seen has one already, that of level"),
        ("{level: -1, temp: 2}", r"sigma\.level: must be"),
        ("{}", "sigma: "),
    ],
)
def test_mistakes_in_yaml(tmp_path: Path, sigma: str, message: str) -> None:
    program(tmp_path)
    (tmp_path / "job.yaml").write_text(YAML.format(task="least_squares", sigma=sigma))
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "job.yaml")


def test_of_an_fmu(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("fmpy")
    require_simulator("gcc")
    tank2 = load_builder().build(tmp_path / "tank.fmu")
    text = (
        f"task: least_squares\nobjective:\n  fmu:\n    file: {tank2}\n    stop_time: 4\n    outputs:\n"
        "      course: {variable: h, times: [1.0, 2.0]}\n      top: {variable: h, at: max}\n"
        "    value: [course - 1, top - 4]\nparameters:\n  - {name: area, value: 2.0}\n"
        "minimize:\n  sigma: SIGMA\noutput: run\n"
    )
    (tmp_path / "job.yaml").write_text(text.replace("SIGMA", "{course: 0.5, top: 2}"))
    loaded = load_config(tmp_path / "job.yaml")
    parts = make_objective(loaded, loaded.config.problem()).output_parts
    weighting = make_weighting(sigma_of(loaded.config), None, ["area"], np.zeros(1, dtype=bool), parts)
    np.testing.assert_allclose(weighting.values(np.ones(3), None, np.ones(1)), [2, 2, 0.5])
    (tmp_path / "job.yaml").write_text(text.replace("SIGMA", "{corse: 0.5, top: 2}"))
    with pytest.raises(ConfigError, match=r"minimize\.sigma\.corse: .*did you mean .course"):
        load_config(tmp_path / "job.yaml")


def test_a_python_function_in_yaml_has_no_names(tmp_path: Path) -> None:
    text = "task: least_squares\nobjective: {python: 'm:f'}\nx0: [1.0]\nminimize: {sigma: {a: 1}}\noutput: run\n"
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"minimize\.sigma: J's outputs have no names"):
        load_config(tmp_path / "job.yaml")
