"""Tasks minimize and least_squares from YAML to result.json."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distfd
from distfd.config.load import load_config
from distfd.jobs.preview import preview
from distfd.jobs.run import Job
from distfd.run_directory.result_fields import summary

MODEL = """
import numpy as np
from pathlib import Path
HERE = Path(__file__).parent
T = np.linspace(0, 3, 8)
def residuals(x):
    return x[0] * np.exp(-x[1] * T) - 2 * np.exp(-0.7 * T)
def constrained(x):
    return [float(x @ x), float(x[0] + 0.1 * x[1])]
def printed(x):
    return float(f"{(x[0] - 1) ** 2 + 10 * (x[1] - 2) ** 2:.6g}")
def rippled(x):
    return x[0] * np.exp(-x[1] * T) - 2 * np.exp(-0.7 * T) + 1e-5 * np.sin(1e11 * (x[0] + 3 * x[1]) + T**3)
def rosen(x):
    if x[0] > 0 and (HERE / "stop").exists():
        (HERE / "stop").unlink()
        raise KeyboardInterrupt
    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)
"""
PROGRAM = """
task: minimize
objective:
  command:
    argv: [sh, -c, 'cat out.txt']
    inputs: {out.txt: out.j2}
    outputs:
      area: {file: stdout, regex: 'area ([^ ]+)'}
      stress: {file: stdout, regex: 'stress ([^ ]+)'}
    value: area
parameters:
  - {name: w, value: 2.0, lower: 0.1}
  - {name: h, value: 3.0, lower: 0.1}
minimize:
  method: SLSQP
  constraints: [{value: 10 - stress, lower: 0}]
"""


def run(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("distfd.jobs.run.make_executor", lambda _, **__: distfd.SerialExecutor())
    file = folder / "job.yaml"
    file.write_text(text + f"output: {folder / 'run'}\n")
    return Job(load_config(file), lambda _: None, lambda _: None).run()


@pytest.fixture(name="model")
def model_file(tmp_path: Path) -> str:
    name = f"model_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(MODEL)
    return name


NOISE = [
    (
        "minimize",
        "printed",
        "[3.1, -1.7]",
        "J did not change at all at the points beside x0, because the step is too short",
    ),
    ("least_squares", "rippled", "[1.0, 0.1]", "the gradient at the end is"),
]


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
@pytest.mark.parametrize("case", NOISE, ids=lambda case: case[0])
def test_a_gradient_of_noise_is_not_converged(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, case: tuple[str, ...]
) -> None:
    task, fun, x0, told = case
    found = run(tmp_path, f"task: {task}\nobjective: {{python: '{model}:{fun}'}}\nx0: {x0}\n", monkeypatch)
    assert found["status"] == "done"
    assert found["converged"] is False
    assert told in found["message"]
    assert "not converged after" in summary(found)
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["converged"] is False
    assert written["message"] == found["message"]
    assert (written["noise"] is None) == (task == "minimize")


def test_least_squares(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"task: least_squares\nobjective: {{python: '{model}:residuals'}}\nx0: [1.0, 0.1]\n"
    found = run(tmp_path, text + "minimize: {options: {loss: soft_l1, x_scale: jac}}\n", monkeypatch)
    np.testing.assert_allclose(found["x"], [2, 0.7], atol=1e-5)
    assert found["status"] == "done"
    assert found["converged"] is True
    assert found["value"] < 1e-10 < found["value0"]
    assert len(found["residuals"]) == 8
    assert np.shape(found["jacobian"]) == (8, 2)
    assert len(found["derivative"]) == 2
    assert "cost = " in summary(found)
    assert "3 for each Jacobian of the fit" in preview(load_config(tmp_path / "job.yaml"))


def test_the_table_of_a_fit(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "sigma.npy", np.full(8, 0.1))
    text = f"task: least_squares\nobjective: {{python: '{model}:residuals'}}\nx0: [1.0, 0.1]\n"
    text += "minimize: {sigma: sigma.npy, prior: {x1: {value: 0.5, sigma: 0.01}}}\n"
    found = run(tmp_path, text, monkeypatch)
    fit = json.loads((tmp_path / "run" / "result.json").read_text())["fit"]
    assert found["x"][1] == pytest.approx(0.5, abs=0.02)
    assert len(found["residuals"]) == 9
    assert (fit["n_residuals"], fit["n_prior"], fit["degrees_of_freedom"], fit["absolute_sigma"]) == (9, 1, 7, True)
    jacobian = np.array(found["jacobian"])
    np.testing.assert_allclose(fit["standard_error"], np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian))), rtol=1e-6)
    half = 1.959964 * np.array(fit["standard_error"])
    np.testing.assert_allclose(np.array(fit["upper"]) - found["x"], half, rtol=1e-5)
    assert fit["bound"] == [None, None]
    assert fit["not_told_apart"] == []
    text = summary(json.loads((tmp_path / "run" / "result.json").read_text()))
    assert "9 residuals, 1 of them prior values of parameters (known standard deviations), 2 parameters" in text
    assert "std. error" in text
    assert "95 % from" in text
    page = (tmp_path / "run" / "report.html").read_text()
    assert "std. error" in page
    assert "1 of them prior values of parameters" in page


def test_other_numbers_in_the_files_that_a_configuration_names_are_another_run(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "sigma.npy", np.full(8, 0.1))
    np.save(tmp_path / "x0.npy", [1.0, 0.1])
    text = f"task: least_squares\nobjective: {{python: '{model}:residuals'}}\nx0: x0.npy\n"
    text += "minimize: {sigma: sigma.npy}\n"
    first = run(tmp_path, text, monkeypatch)
    again = run(tmp_path, text, monkeypatch)
    assert again == first, "it is finished"
    np.save(tmp_path / "sigma.npy", np.full(8, 0.2))
    wider = run(tmp_path, text, monkeypatch)
    errors = [np.array(found["fit"]["standard_error"]) for found in (first, wider)]
    np.testing.assert_allclose(errors[1], 2 * errors[0], rtol=1e-4)
    np.save(tmp_path / "x0.npy", [1.5, 0.2])
    assert run(tmp_path, text, monkeypatch)["x0"] == [1.5, 0.2]
    load_config(tmp_path / "run" / "config.yaml")


def test_a_fit_at_a_bound(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"task: least_squares\nobjective: {{python: '{model}:residuals'}}\nx0: [1.0, 0.1]\n"
    found = run(tmp_path, text + "bounds: {upper: [null, 0.5]}\n", monkeypatch)
    fit = json.loads((tmp_path / "run" / "result.json").read_text())["fit"]
    assert fit["bound"] == [None, "upper"]
    assert fit["standard_error"][1] is None
    assert fit["standard_error"][0] > 0
    assert "at a bound, and so without a standard error: x1" in summary(found)


def test_a_program_has_its_sigma_beside_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out.j2").write_text("{{ a + b }} {{ a - b }} {{ a + 2 * b }} end\n")
    (tmp_path / "data.csv").write_text("y\n3.0\n1.0\n4.5\n")
    text = """task: least_squares
objective:
  command:
    argv: [cat, out]
    inputs: {out: out.j2}
    outputs:
      u: {file: stdout, regex: '^(\\S+)'}
      v: {file: stdout, regex: '^\\S+ (\\S+)'}
      w: {file: stdout, regex: '(\\S+) end'}
    data: {y: {file: data.csv, csv: {column: y, row: all}}}
    value: ["u - y[0]", "v - y[1]", "w - y[2]"]
    sigma: [0.1, 0.1, 0.2]
parameters: [{name: a, value: 1}, {name: b, value: 1}]
"""
    found = run(tmp_path, text, monkeypatch)
    jacobian = np.array([[1, 1], [1, -1], [1, 2]]) / np.array([[0.1], [0.1], [0.2]])
    covariance = np.linalg.inv(jacobian.T @ jacobian)
    np.testing.assert_allclose(found["fit"]["standard_error"], np.sqrt(np.diag(covariance)), rtol=1e-5)
    np.testing.assert_allclose(found["x"], np.linalg.lstsq(jacobian, [30.0, 10.0, 22.5], rcond=None)[0], rtol=1e-5)


def test_constraints_of_a_function(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"task: minimize\nobjective: {{python: '{model}:constrained'}}\nx0: [3.0, 1.0]\n"
    found = run(tmp_path, text + "minimize: {method: SLSQP, constraints: [{lower: 1}]}\n", monkeypatch)
    np.testing.assert_allclose(found["x"], [1 / 1.01, 0.1 / 1.01], atol=1e-4)
    assert found["constraints"] == pytest.approx([1.0])
    assert found["violation"] < 1e-6
    assert len(found["derivative"]) == 2
    assert "constraints kept to within" in summary(found)


def test_constraints_of_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out.j2").write_text("area {{ w * h }} stress {{ 60 / (w * h * h) }} end\n")
    found = run(tmp_path, PROGRAM.replace("lower: 0.1}\nmin", "lower: 0.1, upper: 4}\nmin"), monkeypatch)
    assert found["status"] == "done"
    np.testing.assert_allclose(found["x"], [60 / 160, 4.0], rtol=1e-3)
    assert found["value"] == pytest.approx(1.5, rel=1e-3)
    assert found["constraints"] == pytest.approx([0.0], abs=1e-5)


def test_lbfgs_by_yaml(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"task: minimize\nobjective: {{python: '{model}:rosen'}}\nx0: [-1.2, 1.0]\n"
    text += "derivative: {scheme: central}\nminimize: {method: L-BFGS, options: {maxcor: 20, gtol: 1.0e-6}}\n"
    found = run(tmp_path, text, monkeypatch)
    assert found["status"] == "done"
    assert found["converged"] is True
    assert found["message"] in ("gradient below gtol", "J falls by less than ftol")
    np.testing.assert_allclose(found["x"], 1.0, atol=1e-4)
    again = run(tmp_path, text.replace("1.0e-6", "1.0e-7"), monkeypatch)
    assert again["converged"] is True
    assert again["n_reused"] > 10, "what was known is not computed again"
    with pytest.raises(distfd.InputError, match=r"minimize.options: L-BFGS has no 'maxfun'"):
        run(tmp_path, text.replace("maxcor", "maxfun"), monkeypatch)


def test_lists_of_numbers_are_arrays_to_scipy(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"task: minimize\nobjective: {{python: '{model}:rosen'}}\nx0: [-1.2, 1.0]\n"
    text += "derivative: {scheme: central}\nminimize: {method: TNC, options: {scale: [1, 2], maxfun: 300}}\n"
    assert run(tmp_path, text, monkeypatch)["converged"] is True


@pytest.mark.slow
def test_a_minimisation_that_is_ended_exits_with_130(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nfrom pathlib import Path\n"
        "def J(x):\n    Path(__file__).with_name('going').touch()\n    time.sleep(0.02)\n"
        "    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)\n"
    )
    (tmp_path / "job.yaml").write_text(
        "task: minimize\nobjective: {python: 'slow:J'}\nx0: [-1.2, 1.0]\n"
        "minimize: {method: L-BFGS}\ncluster: {address: local, num_cpus: 2}\noutput: run\n"
    )
    command = [sys.executable, "-m", "distfd", "run", "job.yaml"]
    root = str(Path(distfd.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    iterates = tmp_path / "run" / "iterates.jsonl"
    while process.poll() is None and not (iterates.exists() and b'"iterate": 2' in iterates.read_bytes()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["status"] == "interrupted"
    assert found["value"] < found["value0"]


def test_an_interrupted_run_has_its_best_point_and_goes_on(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"task: minimize\nobjective: {{python: '{model}:rosen'}}\nx0: [-1.2, 1.0]\n"
    (tmp_path / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, text, monkeypatch)
    halfway = json.loads((tmp_path / "run" / "result.json").read_text())
    assert halfway["status"] == "interrupted"
    assert halfway["value"] < halfway["value0"]
    assert len(halfway["derivative"]) == 2
    iterates = (tmp_path / "run" / "iterates.jsonl").read_text().splitlines()
    found = run(tmp_path, text, monkeypatch)
    assert found["status"] == "done"
    assert found["value"] < 1e-8
    assert found["n_reused"] > 10
    assert (tmp_path / "run" / "iterates.jsonl").read_text().splitlines()[: len(iterates)] == iterates
