"""What a run that is cut off writes: the best point that it knows, by any method; and what is too large for text."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.config.load import load_config
from distfd.core.errors import ClusterLostError
from distfd.jobs.preview import plan_job
from distfd.jobs.run import Job
from distfd.run_directory.result_fields import summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MODEL = """
import numpy as np
T = np.linspace(0, 3, 8)
def residuals(x):
    return x[0] * np.exp(-x[1] * T) - 2 * np.exp(-0.7 * T)
def rosen(x):
    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)
def constrained(x):
    return [float((x[0] - 2) ** 2 + x[1] ** 4), float(x[0] + x[1])]
def broken(x):
    if not BASES or abs(x - BASES[-1]).max() > 1e-6:
        BASES.append(np.array(x))
    elif len(BASES) > 8:
        return float("nan")
    return rosen(x)
BASES = []
def table(x):
    return np.outer(np.arange(5.0), x).sum(axis=1)
"""


class Lost(distfd.SerialExecutor):
    """An executor whose cluster is gone after so many points."""

    left = 20

    def submit(self, slot: int, chunk: Any) -> None:
        """Count its points."""
        self.left -= len(chunk.index)
        super().submit(slot, chunk)

    def wait(self, seconds: float) -> Sequence[Any]:
        """One chunk, or the end."""
        if self.left < 0:
            raise ClusterLostError("the cluster is gone")
        return super().wait(seconds)


def make(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch, executor: Any = None) -> Job:
    name = f"cut_{abs(hash(str(folder)))}"
    (folder / f"{name}.py").write_text(MODEL)
    monkeypatch.setattr("distfd.jobs.run.make_executor", lambda _, **__: executor or distfd.SerialExecutor())
    (folder / "job.yaml").write_text(text.replace("MODEL", name) + f"\noutput: {folder / 'run'}\n")
    return Job(load_config(folder / "job.yaml"), lambda _: None, lambda _: None)


CUT = {
    "L-BFGS": "task: minimize\nobjective: {python: 'MODEL:rosen'}\nx0: [-1.2, 1.0]\nminimize: {method: L-BFGS}",
    "BFGS": "task: minimize\nobjective: {python: 'MODEL:rosen'}\nx0: [-1.2, 1.0]\nminimize: {method: BFGS}",
    "SLSQP": (
        "task: minimize\nobjective: {python: 'MODEL:constrained'}\nx0: [-1.2, 1.0]\n"
        "minimize: {method: SLSQP, constraints: [{upper: 1.0}]}"
    ),
    "trf": "task: least_squares\nobjective: {python: 'MODEL:residuals'}\nx0: [1.0, 0.1]\nminimize: {method: trf}",
    "lm": "task: least_squares\nobjective: {python: 'MODEL:residuals'}\nx0: [1.0, 0.1]\nminimize: {method: lm}",
    "model": "task: least_squares\nobjective: {python: 'MODEL:residuals'}\nx0: [1.0, 0.1]\nminimize: {method: model}",
}


@pytest.mark.parametrize("method", CUT)
def test_a_lost_cluster_leaves_the_best_point(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Lost()
    executor.left = {"trf": 9, "lm": 9, "model": 9, "SLSQP": 14}.get(method, 20)
    with pytest.raises(ClusterLostError):
        make(tmp_path, CUT[method], monkeypatch, executor).run()
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["status"] == "interrupted"
    assert found["exit_code"] == 4
    assert found["x"] != found["x0"]
    assert found["value"] < found["value0"]
    assert len(found["derivative"]) == 2
    assert found["converged"] is False
    assert summary(found)
    again = make(tmp_path, CUT[method], monkeypatch).run()
    assert again["status"] == "done"
    assert again["value0"] == found["value0"]
    assert again["value"] <= found["value"]


def test_a_failed_gradient_leaves_the_best_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CUT["BFGS"].replace("rosen", "broken")
    with pytest.raises(distfd.EvaluationError):
        make(tmp_path, text, monkeypatch).run()
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["status"] == "failed"
    assert found["value"] < found["value0"]
    assert found["x"] != found["x0"]


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm", "model"])
def test_a_fixed_parameter_of_a_fit(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "task: least_squares\nobjective: {python: 'MODEL:residuals'}\n"
        f"parameters: [{{name: a, value: 1.0}}, {{name: b, value: 0.7, fixed: true}}]\nminimize: {{method: {method}}}"
    )
    found = make(tmp_path, text, monkeypatch).run()
    assert found["converged"]
    assert found["x"] == pytest.approx([2.0, 0.7], abs=1e-6)
    assert found["x"][1] == 0.7


@pytest.mark.parametrize("method", ["BFGS", "Newton-CG"])
def test_a_fixed_parameter_of_a_method_without_bounds(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "task: minimize\nobjective: {python: 'MODEL:rosen'}\n"
        f"parameters: [{{name: a, value: 0.5}}, {{name: b, value: 1.0, fixed: true}}]\nminimize: {{method: {method}}}"
    )
    found = make(tmp_path, text, monkeypatch).run()
    assert found["x"][0] == pytest.approx(1.0, abs=1e-3)
    assert found["x"][1] == 1.0


def test_a_large_matrix_is_in_the_arrays_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distfd.jobs.finalize._MOST_ENTRIES", 14)
    text = "task: jacobian\nobjective: {python: 'MODEL:table'}\nx0: [1.0, 2.0, 3.0]"
    found = make(tmp_path, text, monkeypatch).run()
    assert found["status"] == "done"
    assert found["derivative"] is None
    assert found["only_in_arrays"] == ["derivative", "error"]
    assert len(found["value"]) == 5
    with np.load(tmp_path / "run" / "derivative.npz") as arrays:
        assert arrays["derivative"] == pytest.approx(np.outer(np.arange(5.0), np.ones(3)), abs=1e-6)
    assert "derivative, error: in derivative.npz alone" in summary(found)


def test_a_large_jacobian_of_a_fit_is_in_the_arrays_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distfd.jobs.finalize._MOST_ENTRIES", 15)
    found = make(tmp_path, CUT["trf"], monkeypatch).run()
    assert found["jacobian"] is None
    assert len(found["derivative"]) == 2
    with np.load(tmp_path / "run" / "derivative.npz") as arrays:
        assert arrays["jacobian"].shape == (8, 2)


def test_the_arrays_have_the_names_of_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import json; x = json.load(open('parameters.json'))['a'];"
        "json.dump({'cl': 6 * x, 'cd': x * x}, open('out.json', 'w'))"
    )
    outputs = {name: {"file": "out.json", "json": f"/{name}"} for name in ("cl", "cd")}
    command = {"argv": [sys.executable, "-I", "-S", "-c", script], "outputs": outputs, "value": ["cl", "cd"]}
    text = f"task: jacobian\nobjective: {json.dumps({'command': command})}\nparameters: [{{name: a, value: 2.0}}]"
    found = make(tmp_path, text, monkeypatch).run()
    assert found["outputs"] == ["cl", "cd"]
    with np.load(tmp_path / "run" / "derivative.npz", allow_pickle=False) as arrays:
        assert arrays["outputs"].tolist() == ["cl", "cd"]
        assert arrays["names"].tolist() == ["a"]
        np.testing.assert_allclose(arrays["derivative"], [[6.0], [4.0]], rtol=1e-6)


def test_outputs_without_names_leave_the_arrays_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "task: jacobian\nobjective: {python: 'MODEL:table'}\nx0: [1.0, 2.0]", monkeypatch).run()
    with np.load(tmp_path / "run" / "derivative.npz", allow_pickle=False) as arrays:
        assert "outputs" not in arrays
        assert arrays["derivative"].shape == (5, 2)


def plan(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    return plan_job(make(folder, text, monkeypatch).loaded, no_import=True)


@pytest.mark.parametrize("scheme", ["forward", "central4", "complex-step"])
@pytest.mark.parametrize("d", [63, 70])
def test_a_plan_counts_the_points_of_a_large_hessian(
    scheme: str, d: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x0 = np.linspace(1.0, 2.0, d).tolist()
    text = f"task: hessian\nobjective: {{python: 'MODEL:rosen'}}\nx0: {x0}\nderivative: {{scheme: {scheme}}}"
    counted = plan(tmp_path, text, monkeypatch).fields
    monkeypatch.setattr("distfd.jobs.preview._SAMPLES", (97, 98, 99))
    made = plan(tmp_path, text, monkeypatch).fields
    assert counted["evaluations"] == made["evaluations"]
    assert counted["check_evaluations"] == made["check_evaluations"]
    if scheme == "forward":
        assert counted["evaluations"]["usual"] - counted["check_evaluations"] == d * d + d + 1


def test_a_hessian_beyond_memory_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distfd.evaluation.second_derivatives._POINT_BYTES", 1e9)
    x0 = np.ones(20_000)
    what = r"a Hessian of 20000 coordinates takes 400020001 evaluations, .* GiB of memory, .*: give sparsity"
    with pytest.raises(distfd.InputError, match=what):
        distfd.hessian(lambda x: 0.0, x0, executor="serial")
    np.save(tmp_path / "x0.npy", x0)
    text = f"task: hessian\nobjective: {{python: 'MODEL:rosen'}}\nx0: {tmp_path / 'x0.npy'}"
    with pytest.raises(distfd.InputError, match=what):
        plan(tmp_path, text, monkeypatch)


def test_a_plan_of_richardson_says_what_the_noise_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "task: gradient\nobjective: {python: 'MODEL:rosen'}\nx0: [1.0, 2.0, 3.0, 4.0]\n"
        "derivative: {scheme: richardson, check: false}"
    )
    found = plan(tmp_path, text, monkeypatch).fields
    assert found["evaluations"]["usual"] == 37
    assert found["scheme_text"] == "richardson: 6 evaluations a parameter, 12 for the noise, and the baseline"
