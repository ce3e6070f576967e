"""J by an FMU: its derivative against the closed form, and each mistake by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fmus import level, load_builder, slopes, value

import distfd
from distfd.config.load import load_config
from distfd.core.errors import ConfigError, InputError
from distfd.core.failures import EvaluationFailure
from distfd.jobs.build import make_objective

if TYPE_CHECKING:
    from conftest import RequireSimulator

    from distfd.objectives.fmu.objective import FMUObjective

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "configs" / "tank_fmu.yaml"
X = {"area": 2.0, "k": 0.5, "tank.h0": 4.0}
NAMES = tuple(X)


@pytest.fixture(params=[2, 3])
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def tank(version: int, tmp_path: Path, require_simulator: RequireSimulator) -> Path:
    require_simulator("fmpy")
    require_simulator("gcc")
    made: Path = load_builder().build(tmp_path / "tank.fmu", version)
    return made


@pytest.fixture
def tank2(tmp_path: Path, require_simulator: RequireSimulator) -> Path:
    require_simulator("fmpy")
    require_simulator("gcc")
    made: Path = load_builder().build(tmp_path / "tank.fmu", 2)
    return made


def make(path: Path, **options: Any) -> FMUObjective:
    given: dict[str, Any] = {"outputs": {"h": "h"}, "names": NAMES, **options}
    return distfd.FMUObjective(path, **given)


def test_gradient_is_that_of_the_closed_form(tank: Path) -> None:
    found = distfd.gradient(make(tank), [2.0, 0.5, 4.0], scheme="central", executor="serial")
    np.testing.assert_allclose(found, slopes(4.0), rtol=1e-8)


def test_jacobian_at_times_and_residuals(tank: Path, tmp_path: Path) -> None:
    times = [0.0, 0.25, 1.0, 3.999]  # not all of them multiples of the step
    objective = make(tank, outputs={"h": {"times": times}})
    np.testing.assert_allclose(value(objective), level(times), rtol=1e-10)
    found = distfd.jacobian(objective, [2.0, 0.5, 4.0], scheme="central", executor="serial")
    np.testing.assert_allclose(found, [slopes(t) for t in times], rtol=1e-7, atol=1e-9)
    (tmp_path / "measured.csv").write_text("time,h\n0.0,3.5\n0.25,3.25\n")
    residuals = value(make(tank, outputs={"h": {"data": "measured.csv"}}, base=tmp_path))
    np.testing.assert_allclose(residuals, level([0.0, 0.25]) - [3.5, 3.25], rtol=1e-9)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("0.5,3.5\n1.0,\n", "line 3, column 'h': the cell is empty; write NA if there is no value at this time"),
        ("0.5,3.5\n1.0,  \n", "line 3, column 'h': the cell is empty"),
        ("0.5,3.5\n,3.0\n", "line 3, column 'time': the cell is empty$"),
        ("0.5,3.5\n1.0,wet\n", "line 3, column 'h': 'wet' is not a finite number"),
        ("0.5,3.5\n1.0,nan\n", "line 3, column 'h': 'nan' is not a finite number; write NA"),
        ("0.5,NA\n1.0,NA\n", "column 'h' has no number, only NA"),
    ],
)
def test_a_cell_without_a_number_is_named(tank2: Path, tmp_path: Path, rows: str, text: str) -> None:
    (tmp_path / "measured.csv").write_text("time,h\n" + rows)
    for options in (
        {"outputs": {"h": {"data": "measured.csv"}}},
        {"inputs": {"q": {"file": "measured.csv", "column": "h"}}},
    ):
        with pytest.raises(InputError, match=rf"measured\.csv.*{text}"):
            make(tank2, base=tmp_path, **options)


def test_a_value_that_was_not_measured_is_na(tank2: Path, tmp_path: Path) -> None:
    (tmp_path / "measured.csv").write_text("time,h,q\n0.5,3.5,1\n1.0,NA,2\n2.0,3.0,NA\n")
    residuals = value(make(tank2, outputs={"h": {"data": "measured.csv"}}, base=tmp_path))
    np.testing.assert_allclose(residuals, level([0.5, 2.0]) - [3.5, 3.0], rtol=1e-9)


def test_rows_of_a_jacobian_are_named_by_output_and_time(tank2: Path, tmp_path: Path) -> None:
    (tmp_path / "measured.csv").write_text("time,h\n0.5,3.5\n2.0,3.0\n")
    outputs = {"h": {"data": "measured.csv"}, "end": "h"}
    objective = make(tank2, outputs=outputs, value=["end", "h"], base=tmp_path)
    found = distfd.differentiate(objective, [2.0, 0.5, 4.0], kind="jacobian", executor="serial")
    assert found.outputs == ("end", "h(t=0.5)", "h(t=2.0)")
    np.testing.assert_allclose(found.derivative[:, 2], [slopes(t)[2] for t in (4.0, 0.5, 2.0)], rtol=1e-6)
    assert "h(t=0.5)" in str(found)
    only = make(tank2, outputs={"h": {"times": [1.0, 2.0]}})
    assert only.output_names(2) == ("h(t=1.0)", "h(t=2.0)")
    assert make(tank2, outputs={"h": {"times": [1.0, 1.0]}}).output_names(2) == ("h[0]", "h[1]"), "equal times"
    assert make(tank2, outputs=outputs, value="h * end", base=tmp_path).output_names(2) is None


def test_an_output_without_a_value_is_named_in_the_failure(tank2: Path) -> None:
    objective = make(tank2, outputs={"h": {"times": [1.0, 2.0]}, "end": "h"}, value=["h", "log(end - 9)"])
    with pytest.raises(distfd.EvaluationError, match=r"nan at output log\(end - 9\)|log\(end - 9\)"):
        distfd.jacobian(objective, [2.0, 0.5, 4.0], executor="serial")


def test_it_is_called_as_a_function(tank2: Path) -> None:
    assert make(tank2)([2.0, 0.5, 4.0]) == pytest.approx(level(4.0), rel=1e-10)
    np.testing.assert_allclose(make(tank2, outputs={"h": {"times": [1.0, 2.0]}})(np.array([2, 0.5, 4])), level([1, 2]))
    with pytest.raises(distfd.EvaluationError, match="J failed: x has 2 values, and there are 3 names"):
        make(tank2)([2.0, 0.5])
    with pytest.raises(distfd.EvaluationError, match=r"names: say which variables of tank\.fmu x holds"):
        make(tank2, names=None)([2.0, 0.5, 4.0])


def test_max_min_mean_and_an_expression(tank: Path) -> None:
    outputs = {"top": {"variable": "h", "at": "max"}, "low": {"variable": "h", "at": "min"}}
    outputs |= {"mean": {"variable": "h", "at": "mean"}}
    found = value(make(tank, outputs=outputs, value=["top", "low", "mean"]))
    mean = np.trapezoid(level(np.linspace(0, 4, 41)), np.linspace(0, 4, 41)) / 4
    np.testing.assert_allclose(found, [4.0, level(4.0), mean], rtol=1e-10)


def test_inputs_drive_it_and_times_are_keys(tank: Path) -> None:
    filled = make(tank, inputs={"q": {"times": [0, 1, 1, 2], "values": [0, 0, 1, 1]}}, start={}, stop_time=2)
    x = (2.0, 0.0, 4.0)  # a closed outlet: the level is the integral of what flows in
    assert value(filled, x) == pytest.approx(4.0 + 0.5, abs=1e-12)
    assert value(make(tank, inputs={"q": 2.0}, stop_time=1, step=0.5), x) == pytest.approx(5.0, abs=1e-12)


def test_start_values_of_every_type(tank: Path) -> None:
    started = make(tank, start={"pipes": 2, "open": True, "liquid": "water"})
    assert value(started) == pytest.approx(level(4.0, k=1.0), rel=1e-10)
    assert value(make(tank, start={"open": False})) == pytest.approx(4.0, abs=1e-12)
    with pytest.raises(EvaluationFailure, match="SetString failed"):
        value(make(tank, start={"liquid": "sand"}))


def test_a_whole_number_is_a_parameter_where_its_step_is_one(tank: Path) -> None:
    objective = make(tank, names=("pipes",))
    assert value(objective, [2.0]) == pytest.approx(level(4.0, k=1.0), rel=1e-10)
    with pytest.raises(EvaluationFailure, match=r"pipes is of type Int.*, and 1\.5 is no whole number"):
        value(objective, [1.5])


def test_an_unclean_reset_is_found_out(version: int, tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("fmpy")
    require_simulator("gcc")
    leaky = load_builder().build(tmp_path / "leaky.fmu", version, "-DLEAKY")
    model = make(leaky).make()
    points = np.array([[2.0, 0.5, 4.0], [2.1, 0.5, 4.0], [2.0, 0.6, 4.0], [2.0, 0.5, 4.0]])
    found = [model.evaluate(x, timeout=None) for x in points]
    np.testing.assert_allclose(found, [level(4.0, *x) for x in points], rtol=1e-10)
    trusted = make(leaky, reset=True).make()
    wrong = [trusted.evaluate(x, timeout=None) for x in points]
    assert abs(wrong[-1] - found[-1]) > 1e-3, "what it would have said with resets"


@pytest.mark.parametrize("failing", [{1}, {2}, {1, 3}])
def test_an_unclean_reset_is_found_out_after_failures(
    failing: set[int], version: int, tmp_path: Path, require_simulator: RequireSimulator
) -> None:
    require_simulator("fmpy")
    require_simulator("gcc")
    leaky = load_builder().build(tmp_path / "leaky.fmu", version, "-DLEAKY")
    simulations: list[float] = []

    def at_end(h: float) -> float:
        simulations.append(h)
        if len(simulations) in failing:
            raise RuntimeError("not this time")
        return h

    model = make(leaky, value=at_end).make()
    points = np.array([[2.0, 0.5, 4.0], [2.1, 0.5, 4.0], [2.0, 0.6, 4.0], [1.9, 0.5, 4.0], [2.0, 0.5, 4.0]])
    good = 0
    for x in points:
        try:
            found = model.evaluate(x, timeout=None)
        except EvaluationFailure:
            continue
        good += 1
        assert found == pytest.approx(level(4.0, *x), rel=1e-10)
    assert good >= len(points) - len(failing)


def test_a_reset_that_fails_makes_new_instances(
    version: int, tmp_path: Path, require_simulator: RequireSimulator
) -> None:
    require_simulator("fmpy")
    require_simulator("gcc")
    stuck = load_builder().build(tmp_path / "stuck.fmu", version, "-DSTUCK")
    found = distfd.gradient(make(stuck), [2.0, 0.5, 4.0], scheme="central", executor="serial")
    np.testing.assert_allclose(found, slopes(4.0), rtol=1e-7)
    with pytest.raises(distfd.EvaluationError, match="Reset"):
        distfd.gradient(make(stuck, reset=True), [2.0, 0.5, 4.0], executor="serial")


def test_a_point_that_fails_once_is_tried_again_where_retries_say_so(tank2: Path) -> None:
    simulations: list[float] = []

    def at_end(h: float) -> float:
        simulations.append(h)
        if len(simulations) in (1, 4):
            raise RuntimeError("not this time")
        return h

    objective = make(tank2, value=at_end)
    found = distfd.differentiate(objective, [2.0, 0.5, 4.0], executor="serial", retries={"error": 1}, check=False)
    np.testing.assert_allclose(found.derivative, slopes(4.0), rtol=1e-5)
    assert found.n_retried == 2
    simulations.clear()
    with pytest.raises(distfd.EvaluationError, match="not this time"):
        distfd.gradient(objective, [2.0, 0.5, 4.0], executor="serial")


def test_a_value_that_is_nan_is_called_that(tank2: Path) -> None:
    objective = make(tank2, value="log(h - 2.27)", names=("k",))  # the second point's, which is simulated twice
    with pytest.raises(distfd.EvaluationError, match="returned nan"):
        distfd.gradient(objective, [0.49], executor="serial", step=0.05)


def test_a_failure_has_the_log_of_the_instance(tank: Path) -> None:
    builder = make(tank, names=("k", "tank.h0"), start={"area": -1.0})
    with pytest.raises(distfd.EvaluationError, match="the tank has no area") as caught:
        distfd.gradient(builder, [0.5, 4.0], executor="serial")
    assert "ExitInitializationMode failed" in str(caught.value)


def test_its_bytes_are_part_of_the_fingerprint(tank2: Path) -> None:
    first = make(tank2).fingerprint()
    assert first == make(tank2).fingerprint()
    assert first != make(tank2, step=0.2).fingerprint()
    with zipfile.ZipFile(tank2, "a") as archive:
        archive.writestr("documentation/index.html", "another")
    assert first != make(tank2).fingerprint()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"names": ("aera", "k")}, "no variable 'aera'; did you mean 'area'"),
        ({"names": ("h0", "k")}, "did you mean 'tank.h0'"),
        ({"names": ("h",)}, "parameters: h: h has causality output"),
        ({"outputs": {"x": "hh"}}, "outputs: x: tank.fmu has no variable 'hh'"),
        ({"outputs": {"h": {"times": [1.0, 5.0]}}}, "5 is outside the time that is simulated, 0 to 4"),
        ({"outputs": {"h": {"at": "first"}}}, "at is last, max, min, mean"),
        ({"outputs": {"h": {"data": "none.csv"}}}, "none.csv does not exist"),
        ({"inputs": {"k": 1.0}}, "inputs: k: is no input"),
        ({"names": ("area",), "start": {"area": 1.0}}, "area is given in start too"),
        ({"stop_time": -1}, "must be after start_time"),
        ({"step": 9.0}, "step: must be > 0 and at most 4"),
        ({"step": 1e-9}, "step: 1e-09 makes 4e.09 steps of 4; at most 1e.07 are allowed"),
        ({"names": ("open",)}, "parameters: open is of type Boolean, and has no derivative"),
        ({"names": ("liquid",)}, "parameters: liquid is of type String, and has no derivative"),
        ({"outputs": {"liquid": "liquid"}}, "liquid is of type String, and an output is one number"),
    ],
)
def test_mistakes_are_named(tank2: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text.replace("(", r"\(")):
        make(tank2, **options)


def test_what_is_no_fmu_is_named(tmp_path: Path, tank2: Path) -> None:
    with pytest.raises(InputError, match=r"tnk\.fmu does not exist; did you mean 'tank\.fmu'"):
        make(tank2.with_name("tnk.fmu"))
    (tmp_path / "text.fmu").write_text("no archive")
    with pytest.raises(InputError, match="is no FMU, which is a ZIP archive"):
        make(tmp_path / "text.fmu")
    with zipfile.ZipFile(tmp_path / "empty.fmu", "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(InputError, match=r"without a modelDescription\.xml"):
        make(tmp_path / "empty.fmu")


def test_no_binary_for_this_platform(tmp_path: Path, tank2: Path) -> None:
    with zipfile.ZipFile(tank2) as archive, zipfile.ZipFile(tmp_path / "win.fmu", "w") as other:
        other.writestr("modelDescription.xml", archive.read("modelDescription.xml"))
        other.writestr("binaries/win64/tank.dll", b"")
    with pytest.raises(InputError, match=r"no binary for this platform, .*; it has win64"):
        make(tmp_path / "win.fmu").check([2.0, 0.5, 4.0])
    with pytest.raises(InputError, match=r"area = 0\.05 is outside what tank\.fmu allows, 0\.1 to inf"):
        make(tank2).check([0.05, 0.5, 4.0])


def test_a_vector_is_no_gradient(tmp_path: Path) -> None:
    text = CONFIG.read_text(encoding="utf-8").replace("at: last", "times: [1.0, 2.0]")
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(ConfigError, match="is a vector, and task gradient needs one number"):
        load_config(tmp_path / "job.yaml")


def test_the_configuration_makes_it(tank: Path) -> None:
    (tank.parent / "tank_fmu").mkdir()
    tank.rename(tank.parent / "tank_fmu" / "tank.fmu")
    (tank.parent / "job.yaml").write_text(CONFIG.read_text(encoding="utf-8"))
    loaded = load_config(tank.parent / "job.yaml")
    objective = make_objective(loaded, loaded.config.problem())
    found = distfd.gradient(objective, [2.0, 0.5, 4.0], scheme="central", executor="serial")
    np.testing.assert_allclose(found, slopes(4.0), rtol=1e-8)


@pytest.mark.slow
def test_the_command_line_runs_the_example(tank: Path) -> None:
    (tank.parent / "tank_fmu").mkdir()
    tank.rename(tank.parent / "tank_fmu" / "tank.fmu")
    (tank.parent / "job.yaml").write_text(CONFIG.read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "distfd", "run", "job.yaml", "cluster.address=local", "cluster.num_cpus=2"]
    ran = subprocess.run(
        command, cwd=tank.parent, env=os.environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads((tank.parent / "runs" / "tank-fmu" / "result.json").read_text())
    np.testing.assert_allclose(result["derivative"], slopes(4.0), rtol=1e-8)
    assert result["names"] == list(NAMES)
