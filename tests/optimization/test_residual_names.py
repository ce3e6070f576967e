"""What a fit's residuals are called, and R^2 where the data are known: of a program whose data have times."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.config.load import load_config
from distfd.jobs.run import Job
from distfd.objectives.output_parts import OutputPart, data_of
from distfd.reporting.write import write_tables
from distfd.run_directory.directory import RunDirectory

if TYPE_CHECKING:
    from pathlib import Path

T = [0.0, 0.5, 2.0, 4.0]
LEVEL = [2.02, 1.7, 0.97, 0.52]
PROGRAM = """\
import json, math
p = json.load(open("parameters.json"))
with open("out.csv", "w") as file:
    file.write("s,level,temp\\n")
    for t in (0.0, 0.5, 2.0, 4.0):
        file.write(f"{t},{p['a'] * math.exp(-p['k'] * t)!r},{300 + p['a'] * t!r}\\n")
"""


def column(file: str, name: str) -> dict[str, Any]:
    return {"file": file, "csv": {"column": name, "row": "all"}}


OUTPUTS = {name: column("out.csv", name) for name in ("s", "level", "temp")}
DATA = {"seen": column("seen.csv", "level"), "t": column("seen.csv", "time")}


def write(folder: Path, header: str = "time,level", times: Any = T) -> None:
    (folder / "model.py").write_text(PROGRAM)
    rows = (f"{t},{level}\n" for t, level in zip(times, LEVEL, strict=True))
    (folder / "seen.csv").write_text(f"{header}\n" + "".join(rows))
    (folder / "warm.csv").write_text("temp\n300.1\n301.0\n304.2\n307.9\n")


def program(folder: Path, **options: Any) -> distfd.CommandObjective:
    given: dict[str, Any] = {"outputs": OUTPUTS, "data": DATA, "value": "level - seen", "names": ["a", "k"]}
    return distfd.CommandObjective([sys.executable, str(folder / "model.py")], base=folder, **{**given, **options})


AT = tuple(f"level(t={t!r})" for t in T)
WARM = {"warm": column("warm.csv", "temp")}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, AT),
        ({"value": "interp(t, s, level) - seen"}, tuple(f"seen(t={t!r})" for t in T)),
        ({"data": DATA | WARM, "value": ["level - seen", "temp - warm"]}, (*AT, *(f"temp[{k}]" for k in range(4)))),
        ({"data": DATA | WARM, "value": ["level - seen", "norm(temp - warm)"]}, (*AT, "norm(temp - warm)")),
        ({"value": ["level - seen", "level**2 - seen"]}, None),
        ({"value": "level - seen[:]"}, AT),
        ({"value_names": ["p", "q", "r", "s"]}, ("p", "q", "r", "s")),
    ],
)
def test_names_by_output_and_time(tmp_path: Path, options: Any, expected: Any) -> None:
    write(tmp_path)
    objective = program(tmp_path, **options)
    assert objective.output_names(len(np.ravel(objective([2.0, 0.5])))) == expected


def test_other_tables_have_indices(tmp_path: Path) -> None:
    write(tmp_path, "T,level")
    without = {"data": {"seen": DATA["seen"]}}
    assert program(tmp_path, **without).output_names(4) == tuple(f"level[{k}]" for k in range(4)), "T is no time"
    write(tmp_path, "t,level")
    assert program(tmp_path, **without).output_names(4) == AT
    write(tmp_path, "t,level", [0.0, 1.0, 1.0, 2.0])
    assert program(tmp_path, **without).output_names(4) == tuple(f"level[{k}]" for k in range(4)), "equal times"
    assert program(tmp_path, **without).output_names(5) is None


def test_a_fit_names_its_rows_and_has_r_squared(tmp_path: Path) -> None:
    write(tmp_path)
    found = distfd.least_squares(
        program(tmp_path), [1.5, 0.2], names=["a", "k"], prior={"k": (0.4, 1.0)}, sigma=0.1, executor="serial"
    )
    assert found.residual_names == (*AT, "prior of k")
    y, off = np.array(LEVEL), 0.1 * found.fun[:4]
    expected = 1 - float(np.sum(off**2) / np.sum((y - y.mean()) ** 2))
    assert found.r_squared() == pytest.approx(expected)
    assert f"R2 {expected:.6g}" in repr(found)
    named = dict(zip(found.residual_names, found.jac, strict=True))
    np.testing.assert_allclose(named["level(t=2.0)"][0], np.exp(-found.x[1] * 2.0) / 0.1, rtol=1e-4)


def test_each_quantity_has_its_own_mean(tmp_path: Path) -> None:
    write(tmp_path)
    objective = program(tmp_path, data=DATA | WARM, value=["level - seen", "warm - temp"])
    sigma = np.repeat([0.1, 0.5], 4)
    found = distfd.least_squares(
        objective, [1.5, 0.2], names=["a", "k"], sigma={"level": 0.1, "temp": 0.5}, executor="serial"
    )
    warm = np.array([300.1, 301.0, 304.2, 307.9])
    around = np.concatenate((np.array(LEVEL) - np.mean(LEVEL), warm - warm.mean())) / sigma
    assert found.r_squared() == pytest.approx(1 - float(np.sum(found.fun**2) / np.sum(around**2)))
    assert found.r_squared() < found.r_squared(np.concatenate((LEVEL, warm))), "around one mean it would flatter"
    shown = found.data_and_model()
    assert shown is not None
    t = np.array(T)
    np.testing.assert_array_equal(shown[0], np.concatenate((LEVEL, warm)))
    simulated = (found.x[0] * np.exp(-found.x[1] * t), 300 + found.x[0] * t)
    np.testing.assert_allclose(shown[1], np.concatenate(simulated), rtol=1e-12)


@pytest.mark.parametrize("value", ["2 * (level - seen)", "level", ["level - seen", "norm(level)"]])
def test_no_r_squared_where_the_data_cannot_be_told(tmp_path: Path, value: Any) -> None:
    write(tmp_path)
    objective = program(tmp_path, value=value)
    assert data_of(objective.output_parts, len(np.ravel(objective([2.0, 0.5])))) is None


def test_data_of_parts() -> None:
    parts = [OutputPart("a", ("a",), 2, np.ones(2)), OutputPart("b", ("b",), 1, np.zeros(1))]
    found = data_of(parts, 3)
    assert found is not None
    assert [each.tolist() for each in (found.values, found.sets, found.signs)] == [[1, 1, 0], [0, 0, 1], [1, 1, 1]]
    assert data_of(parts, 4) is None
    assert data_of(None, 3) is None


def test_in_a_run(tmp_path: Path) -> None:
    write(tmp_path)
    text = """\
task: least_squares
objective:
  command:
    argv: [python3, model.py]
    copy: [model.py]
    outputs:
      level: {file: out.csv, csv: {column: level, row: all}}
    data:
      seen: {file: seen.csv, csv: {column: level, row: all}}
    value: level - seen
    sigma: {level: 0.1}
parameters:
  - {name: a, value: 1.5}
  - {name: k, value: 0.2}
cluster: {address: serial}
"""
    (tmp_path / "job.yaml").write_text(f"{text}output: {tmp_path / 'run'}\n")
    Job(load_config(tmp_path / "job.yaml"), lambda _: None, lambda _: None).run()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["outputs"] == list(AT)
    off, y = np.array(result["residuals"]) * 0.1, np.array(LEVEL)
    expected = 1 - np.sum(off**2) / np.sum((y - y.mean()) ** 2)
    assert result["fit"]["r_squared"] == pytest.approx(expected)
    made = write_tables(RunDirectory(tmp_path / "run"))
    assert [path.name for path in made] == ["derivative.csv", "evaluations.csv", "residuals.csv"]
    with (tmp_path / "run" / "residuals.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(AT)
    np.testing.assert_allclose([float(row["residual"]) for row in rows], result["residuals"])
    np.testing.assert_allclose([float(row["d / d k"]) for row in rows], np.array(result["jacobian"])[:, 1])
