"""Pictures: what is drawn is what the result holds."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from solving import rosenbrock

import distfd
from distfd.reporting.chart_data import convergence_fields
from distfd.reporting.run_data import read_run
from distfd.run_directory.directory import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import RequireSimulator

X = np.array([0.3, -1.2, 2.0])


@pytest.fixture
def pyplot(require_simulator: RequireSimulator) -> Iterator[Any]:
    require_simulator("matplotlib")
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def result(x: Any = X, **options: Any) -> distfd.DerivativeResult:
    return distfd.differentiate(rosenbrock, x, executor="serial", **options)


@pytest.mark.usefixtures("pyplot")
def test_a_bar_for_every_component_with_its_error() -> None:
    found = result(step="auto", names=["a", "$b$", "c_1"])
    axes = distfd.plot.gradient(found)
    assert [bar.get_width() for bar in axes.patches] == found.derivative.tolist()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", r"\$b\$", "c_1"]
    ((_, _, (bars,)),) = axes.containers[1:]
    assert found.error is not None
    for (left, right), g, e in zip(bars.get_segments(), found.derivative, found.error, strict=True):
        assert (left[0], right[0]) == pytest.approx((g - e, g + e))
    axes.figure.canvas.draw()


def test_many_components_are_sizes(pyplot: Any) -> None:
    found = result(np.linspace(-1, 1, 200))
    _, ax = pyplot.subplots()
    axes = distfd.plot.gradient(found, ax)
    assert axes is ax
    sizes = axes.lines[0].get_ydata()
    np.testing.assert_array_equal(sizes, np.sort(np.abs(found.derivative))[::-1])


@pytest.mark.usefixtures("pyplot")
def test_every_evaluation_is_in_the_timeline() -> None:
    found = result()
    axes = distfd.plot.timeline(found)
    (bars,) = axes.collections
    rows = found.evaluations.array
    begin = rows["started"].min()
    drawn = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in bars.get_paths()]
    np.testing.assert_allclose(drawn, np.stack([rows["started"], rows["ended"]], axis=1) - begin)
    axes.figure.canvas.draw()


@pytest.mark.usefixtures("pyplot")
def test_convergence_of_a_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_result({"task": "minimize"})
    time = '"time": "2027-01-15T08:00:00+00:00"'
    run.log.write_text(
        "".join(
            f'{{{time}, "event": "iterated", "iteration": {k}, "value": {v}, "gradient_norm": {g}}}\n'
            for k, v, g in [(1, 100.0, 5.0), (2, 10.0, 0.5), (3, 1.0, 0.1)]
        )
    )
    axes = distfd.plot.convergence(tmp_path)
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1, 100], [2, 10], [3, 1]])
    assert axes.get_yscale() == "log"
    page = convergence_fields(read_run(tmp_path))
    assert page is not None
    np.testing.assert_array_equal(axes.lines[0].get_xydata().T, [page["iteration"], page["value"]])
    (twin,) = [other for other in axes.figure.axes if other is not axes]
    np.testing.assert_array_equal(twin.lines[0].get_ydata(), [5.0, 0.5, 0.1])
    again = distfd.plot.convergence(SimpleNamespace(history=[(1, 2.0, 1.0), (2, 1.0, 0.5)]))
    np.testing.assert_array_equal(again.lines[0].get_ydata(), [2.0, 1.0])
    assert (axes.get_ylabel(), again.get_ylabel()) == ("J", "J")


@pytest.mark.usefixtures("pyplot")
def test_convergence_of_a_fit_is_that_of_its_cost(tmp_path: Path) -> None:
    fit = distfd.least_squares(lambda x: x - 3.0, np.zeros(2), executor="serial")
    assert distfd.plot.convergence(fit).get_ylabel() == "cost"
    run = RunDirectory(tmp_path)
    run.write_result({"task": "least_squares"})
    time = '"time": "2027-01-15T08:00:00+00:00"'
    run.log.write_text(f'{{{time}, "event": "iterated", "iteration": 1, "value": 2.0, "gradient_norm": 1.0}}\n')
    assert distfd.plot.convergence(tmp_path).get_ylabel() == "cost"


@pytest.mark.usefixtures("pyplot")
def test_a_step_sweep_has_axes_for_each_coordinate() -> None:
    sweep = distfd.step_sweep(rosenbrock, X, [0, 2], executor="serial")
    axes = distfd.plot.step_sweep(sweep)
    assert [ax.get_title().partition(":")[0] for ax in axes] == list(sweep.labels)
    apart = np.abs(sweep.forward[1] - sweep.derivative[1])
    np.testing.assert_array_equal(axes[1].lines[0].get_ydata(), np.maximum(apart, 1e-300))


@pytest.mark.usefixtures("pyplot")
def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(distfd.InputError, match="one axis"):
        distfd.plot.gradient(result(kind="hessian"))
    with pytest.raises(distfd.InputError, match="no history"):
        distfd.plot.convergence(result())
    with pytest.raises(distfd.InputError, match="no iterations"):
        distfd.plot.convergence(SimpleNamespace(history=[]))
    with distfd.Evaluator(rosenbrock, executor="serial") as evaluator:
        evaluator.gradient(X)
        with pytest.raises(distfd.InputError, match="nothing was evaluated"):
            distfd.plot.timeline(evaluator.differentiate(X))


def test_without_matplotlib_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(distfd.InputError, match=r"pip install 'distfd\[report\]'"):
        distfd.plot.gradient(result())
