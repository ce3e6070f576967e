"""The step sweep, and what is said of a configured derivative: right where it is right, wrong where it is wrong."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from problems import PROBLEMS

import distfd
from distfd.checks.check_report import check_fields, check_text
from distfd.checks.derivative_check import check_derivative
from distfd.differentiation.step_sweep import DECADES
from distfd.plot import plot_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequireSimulator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

X = np.array([1.0, 2.0, -3.0])


def smooth(x: Floats) -> float:
    return float(np.exp(x[0]) + x[1] ** 3 + x[0] * x[2])


SLOPES = np.array([math.e - 3, 12.0, 1.0])


def printed(x: Floats) -> float:
    return round(smooth(x), 5)


def check(fun: Any, x: Any = X, coordinates: Any = None, tolerance: float = 0.01, **options: Any) -> Any:
    kind = options.pop("kind", "gradient")
    with distfd.Evaluator(fun, executor="serial", **{"on_failure": "nan", **options}) as ev:
        return check_derivative(ev, x, coordinates, kind=kind, tolerance=tolerance)


def sweep(fun: Any, x: Any = X, coordinates: Any = None, **options: Any) -> distfd.StepSweep:
    return distfd.step_sweep(fun, x, coordinates, executor="serial", **options)


def test_a_sweep_is_one_wave_and_its_differences_are_the_textbooks() -> None:
    waves: list[Any] = []
    found = sweep(smooth, coordinates=[1], observers=[waves.append])
    assert sum(type(event).__name__ == "WaveEnded" for event in waves) == 1
    assert found.n_evaluations == 13 + 2 * len(DECADES)
    np.testing.assert_allclose(found.step[0], 2 * DECADES, rtol=1e-3)
    for h, forward, central in zip(found.step[0], found.forward[0], found.central[0], strict=True):
        up, down = X + h * np.eye(3)[1], X - h * np.eye(3)[1]
        # Both round J to eps |J|; nothing else may be between them.
        assert abs(forward - (smooth(up) - smooth(X)) / h) <= 1e-14 / h + 1e-3 * abs(forward)
        assert abs(central - (smooth(up) - smooth(down)) / (2 * h)) <= 1e-14 / h + 1e-3 * abs(central)


def test_forward_goes_the_way_of_the_sign_of_x() -> None:
    found = sweep(lambda x: abs(float(x[0]) + 3.0), [-3.0])
    assert np.all(found.forward[0, -8:] == -1), "away from 0, as SciPy's steps go"
    assert found.warnings
    assert "kink" in found.warnings[0]


@pytest.mark.parametrize("level", [1e-8, 1e-3])
def test_the_derivative_of_a_sweep_is_inside_its_bar(level: float) -> None:
    errors, bars = [], []
    for k, name in enumerate(["rosenbrock", "exponentials", "styblinski tang", "hartmann three", "wood"]):
        for seed in range(3):
            problem, rng = PROBLEMS[name], np.random.default_rng([k, seed])
            x = problem.x0 * (1 + 0.01 * rng.normal(size=problem.x0.shape))
            found = sweep(lambda at, p=problem, r=rng: float(p.value(at[None])[0] + level * r.normal()), x)
            errors.append(np.abs(found.derivative - problem.gradient(x)[found.coordinates]))
            bars.append(found.error)
    error, bar = np.concatenate(errors), np.concatenate(bars)
    assert np.isfinite(bar).mean() > 0.95
    assert np.mean(error <= bar) > 0.9
    assert np.nanmedian(bar / error) < 10


@pytest.mark.parametrize("w", [1e4, 1e6, 1e8])
def test_a_j_whose_scale_is_below_every_line_is_swept_right(w: float) -> None:
    """On all lines of points it looks like noise, but no noise agrees over three steps and at all smaller ones."""

    def wave(x: Floats) -> float:
        return float(np.sin(w * x[0]) + x[1] ** 2)

    x = np.array([0.3, 0.2])
    exact = np.array([w * np.cos(w * x[0]), 0.4])
    found = sweep(wave, x)
    assert np.all(np.abs(found.derivative - exact) <= found.error), found
    assert found.error[0] < 1e-4 * w
    central = check(wave, x, step=distfd.AbsoluteStep(1e-3 / w), scheme="central")
    assert central.verdict == "trust", central
    far = check(wave, x, [0], step=distfd.AbsoluteStep(0.01))
    assert far.verdict == "do not trust", far


def test_plateaus_near_x_are_no_slope() -> None:
    found = sweep(lambda x: smooth(np.asarray(np.round(x, 6))))
    assert np.all(np.abs(found.derivative - SLOPES) <= np.maximum(found.error, 1e-3 * np.abs(SLOPES))), found


@pytest.mark.parametrize("bounds", [[(1.0, 9.0)], [(-9.0, 1.0)], [(1.0 - 1e-5, 1.0 + 3e-4)]])
def test_a_sweep_stays_inside_the_bounds_and_is_right_there(bounds: Any) -> None:
    def fun(x: Floats) -> float:
        assert bounds[0][0] <= x[0] <= bounds[0][1]
        return float(np.exp(x[0]))

    found = sweep(fun, [1.0], bounds=bounds)
    assert abs(found.derivative[0] - math.e) <= max(found.error[0], 1e-9) < 1e-3
    assert found.step[0, 0] < 1e-11


def test_steps_without_room_or_value_are_left_out_and_counted() -> None:
    def fun(x: Floats) -> float:
        if x[0] > 1e6 * (1 + 1e-5):
            raise ValueError("too wide")
        return float(x[0] ** 2)

    found = sweep(fun, [1e6], scale=[1.0], bounds=[(None, None)])
    assert found.unseen[0] >= 1, "1e6 + 1e-12 is 1e6"
    assert found.failed[0] == 0
    found = sweep(fun, [1e6])
    assert found.failed[0] >= 4
    assert abs(found.derivative[0] - 2e6) <= found.error[0]
    assert "J has no value" in str(found)


def test_what_cannot_be_swept_is_refused() -> None:
    for coordinates, says in ((["c"], "there is no 'c'; there are a, b, z"), ([7], "there is no 7"), (["z"], "fixed")):
        with pytest.raises(distfd.InputError, match=says):
            sweep(smooth, coordinates=coordinates, names=["a", "b", "z"], bounds=[(None, None)] * 2 + [(-3, -3)])
    with pytest.raises(distfd.InputError, match="every coordinate is fixed"):
        check(smooth, bounds=[(v, v) for v in X])


def test_a_gradient_that_is_right_is_trusted() -> None:
    found = check(smooth, names=["a", "b", "c"])
    assert (found.verdict, found.advice, found.doubtful) == ("trust", None, ())
    assert found.sentence.startswith("trust the derivative as configured (forward, its default step")
    assert "nothing to change" in check_text(found)
    assert [one.coordinate for one in found.components] == [0, 1, 2]
    np.testing.assert_allclose(found.sweep.derivative, SLOPES, rtol=1e-6)


@pytest.mark.parametrize(
    ("fun", "options", "wrong"),
    [
        (printed, {}, {"a", "b", "c"}),
        (printed, {"step": 1e-8, "scheme": "central"}, {"a", "b", "c"}),
        (smooth, {"step": 0.3}, {"a", "b"}),  # J is linear in c
        (smooth, {"step": distfd.AbsoluteStep([1e-6, 0.5, 1e-6])}, {"b"}),
    ],
)
def test_a_wrong_one_is_told_by_name_and_what_is_advised_is_right(fun: Any, options: Any, wrong: set[str]) -> None:
    names = ["a", "b", "c"]
    found = check(fun, names=names, **options)
    assert found.verdict == "do not trust"
    assert found.sentence.startswith("do NOT trust")
    assert {names[one.coordinate] for one in found.components if one.verdict == "do not trust"} == wrong
    assert any(repr(name) in found.sentence for name in wrong)
    advised = yaml.safe_load(found.advice)["derivative"]
    step = advised["step"]
    step = distfd.AbsoluteStep(step["absolute"]) if isinstance(step, dict) else step
    again = check(fun, names=names, scheme=advised["scheme"], step=step)
    assert again.verdict == "trust", check_text(again)
    np.testing.assert_allclose(again.result.derivative, SLOPES, rtol=0.02)


def test_where_x_is_small_the_advice_is_absolute() -> None:
    found = check(lambda x: round(float(np.exp(x).sum()), 6), [0.0, 1e-3])
    assert yaml.safe_load(found.advice)["derivative"]["step"].keys() == {"absolute"}
    found = check(lambda x: round(float(np.exp(x).sum()), 6), [0.0, 5.0])
    assert len(yaml.safe_load(found.advice)["derivative"]["step"]["absolute"]) == 2


def test_a_component_that_is_large_only_by_its_scale_does_not_choose_the_step_of_the_others() -> None:
    """A parameter of 1e-4 without a scale: 1 % of its derivative hides the others whole."""

    def fun(x: Any) -> float:
        return float(round(3000 * x[0] + 20_000 * float(np.sqrt(x[1])) - 1.7e7 * (x[2] + 6e5 * x[2] ** 3), 2))

    found = check(fun, [6.0, 0.4, 1e-4], scheme="central", step=1e-8)
    steps = yaml.safe_load(found.advice)["derivative"]["step"]["absolute"]
    again = check(fun, [6.0, 0.4, 1e-4], scheme="central", step=distfd.AbsoluteStep(steps))
    assert again.verdict == "trust"
    assert all(one.noise <= 0.01 * abs(one.known) for one in again.components), check_text(again)


def test_noise_above_everything_cannot_be_told() -> None:
    rng = np.random.default_rng(4)
    options: dict[str, Any] = {"scheme": "central", "step": 0.1}
    found = check(lambda x: float(1e-9 * x.sum() + rng.normal()), **options)
    assert found.verdict == "cannot tell"
    assert found.sentence.startswith("cannot tell")
    assert found.advice == "derivative: {step: auto}"


def test_auto_is_judged_by_its_own_bars() -> None:
    found = check(printed, step="auto")
    assert found.verdict == "trust", check_text(found)


def test_of_many_the_doubtful_and_the_largest_are_swept_and_noise_tells_of_the_others() -> None:
    weights = np.ones(12)
    weights[[3, 7]] = 1e4, 0.0

    def fun(x: Floats) -> float:
        return float(weights @ x)

    x = np.linspace(1, 2, 12)
    found = check(fun, x)
    swept = found.sweep.coordinates.tolist()
    assert len(swept) == 5
    assert {3, 7} <= set(swept)
    assert found.doubtful == ()
    rough = check(lambda at: round(float(at.sum()), 6), x)
    assert len(rough.doubtful) == 7
    assert rough.verdict == "do not trust"
    assert "not swept, and noise alone may make them wrong" in check_text(rough)


def test_a_jacobian_is_judged_by_its_worst_output() -> None:
    def fun(x: Floats) -> Floats:
        return np.array([np.exp(x[0]), round(float(x[0] * x[1]), 6)])

    found = check(fun, [1.0, 2.0], kind="jacobian")
    assert found.verdict == "do not trust"
    assert {one.output for one in found.components} == {1}
    assert found.sweep.derivative.shape == (2, 2)
    assert "output" in check_text(found)
    assert sweep(fun, [1.0, 2.0], vector=True).derivative.shape == (2, 2)


def test_a_component_without_a_value_is_not_trusted() -> None:
    def fun(x: Floats) -> float:
        if 2.0 < x[1] < 2.0001:
            raise ValueError("no mesh")
        return smooth(x)

    found = check(fun)
    assert found.result.missing.tolist() == [1]
    assert found.verdict == "do not trust"
    assert "it has no value" in found.sentence


def test_a_deck_with_few_digits_is_named_and_swept_where_it_can_be(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text('{{ a | fmt(".3f") }}\n')
    objective = distfd.CommandObjective(
        ["awk", '{printf "%.17g\\n", $1 * $1}', "deck"],
        inputs={"deck": "deck.j2"},
        outputs={"J": {"file": "stdout", "regex": r"(\S+)"}},
        names=["a"],
        base=tmp_path,
        work=tmp_path / "work",
    )
    found = check(objective, [2.0], names=["a"])
    assert found.verdict == "do not trust"
    assert "a (coordinate 0)" in found.sentence
    assert 'fmt(".3f") swallows it' in found.sentence
    assert found.sweep.unseen[0] >= 8
    assert found.sweep.derivative[0] == pytest.approx(4.0, abs=1e-6)
    advised = yaml.safe_load(found.advice)["derivative"]
    assert check(objective, [2.0], names=["a"], **advised).verdict == "trust"


def test_points_that_are_known_are_not_evaluated_again(tmp_path: Path) -> None:
    first = check(smooth, store=tmp_path / "values.sqlite")
    again = check(smooth, store=tmp_path / "values.sqlite")
    assert first.n_evaluations == 3 + 13 + 3 * 24
    assert again.n_evaluations == 0
    assert check_text(again).splitlines()[:-1] == check_text(first).splitlines()[:-1]
    with distfd.Evaluator(smooth, store=tmp_path / "values.sqlite", executor="serial") as ev:
        assert ev.differentiate(X).n_evaluations == 0


def test_the_fields_are_json_and_by_name() -> None:
    fields = check_fields(check(printed, names=["a", "b", "c"]), ("a", "b", "c"))
    assert [one["name"] for one in fields["components"]] == ["a", "b", "c"]
    assert [one["name"] for one in fields["sweep"]] == ["a", "b", "c"]
    assert fields["verdict"] == "do not trust"
    assert fields["noise"]["quantum"] == 1e-5
    assert any("did not change" in text for text in fields["warnings"])


def test_without_matplotlib_a_plot_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(distfd.InputError, match=r"pip install 'distfd\[report\]'"):
        plot_sweep(sweep(smooth), tmp_path / "sweep.png")


def test_the_plot_is_a_picture(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("matplotlib")
    plot_sweep(sweep(smooth), tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(distfd.InputError, match="cannot be written"):
        plot_sweep(sweep(smooth), tmp_path / "sweep.nothing")


TINY: dict[str, tuple[Any, list[float], list[float]]] = {
    "decay": (
        lambda p: 5 * (1 - np.exp(-1e-6 / (p[0] * p[1]))),
        [1e3, 1e-9],
        [-5 * math.exp(-1) * 1e-3, -5 * math.exp(-1) * 1e9],
    ),
    "saturation": (lambda p: p[0] / (p[0] + 1e-8), [1e-8], [2.5e7]),
    "steep": (lambda x: float(np.sum((1e12 * x - 1) ** 2)), [2e-12], [2e12]),
    "next to 0": (lambda x: np.sin(1 + x[0]) + x[1], [1e-9, 3.0], [math.cos(1 + 1e-9), 1]),
}


@pytest.mark.parametrize("scheme", ["forward", "central"])
@pytest.mark.parametrize("case", list(TINY))
def test_tiny_parameters_are_swept_at_their_scale_and_the_advice_helps(case: str, scheme: str) -> None:
    fun, x, exact = TINY[case]
    found = check(fun, x, scheme=scheme)
    np.testing.assert_allclose([one.known for one in found.components], exact, rtol=1e-4)
    configured = np.asarray(found.result.derivative)
    right = np.allclose(configured, exact, rtol=0.01, atol=0)
    assert found.verdict == ("trust" if right else "do not trust")
    if right:
        assert found.advice is None
        return
    advised = yaml.safe_load(found.advice)["derivative"]
    step = advised["step"]
    if isinstance(step, dict):
        step = distfd.AbsoluteStep(step["absolute"])
    again = check(fun, x, scheme=advised["scheme"], step=step)
    assert again.verdict == "trust"
    np.testing.assert_allclose(again.result.derivative, exact, rtol=1e-3)


def test_the_sweep_of_a_tiny_coordinate_is_against_its_own_size() -> None:
    fun, x, exact = TINY["saturation"]
    found = sweep(fun, x)
    assert found.derivative[0] == pytest.approx(exact[0], rel=1e-6)
    assert np.nanmax(found.step) < 1e-8


def test_a_j_of_single_precision_is_checked_with_its_own_steps() -> None:
    x = [0.3, 1.7, 25.0]
    found = check(lambda x: np.float32(3) * np.sum(np.sin(x.astype(np.float32))), x, tolerance=0.05)
    assert found.verdict == "trust"
    assert "its default step 0.00035" in found.sentence
    assert any("float32" in text for text in found.warnings)
    np.testing.assert_allclose(found.result.derivative, 3 * np.cos(x), rtol=3e-3, atol=1e-3)


W = np.array([1.0, 0.8, -0.6])
RIPPLED = np.array([1.5232242684986328, 1.5969822868282466, 2.6284514811885606])
RIPPLES = {
    "sawtooth": lambda x: float((x**2).sum() + 1e-4 * ((1000 * (x @ W)) % 1)),
    "sine": lambda x: float((x**2).sum() + 1e-4 * math.sin(2000 * float(x @ W))),
}


@pytest.mark.parametrize("options", [{}, {"scheme": "central"}, {"step": "auto"}])
@pytest.mark.parametrize("name", list(RIPPLES))
def test_two_plateaus_are_told_and_neither_is_trusted_unasked(name: str, options: dict[str, Any]) -> None:
    found = check(RIPPLES[name], RIPPLED, **options)
    assert found.verdict == "cannot tell"
    assert sum("looks different at two scales along coordinate" in text for text in found.warnings) == 3
    ripple = 0.1 * W if name == "sawtooth" else 0.2 * math.cos(2000 * float(RIPPLED @ W)) * W
    np.testing.assert_allclose(found.sweep.near, 2 * RIPPLED + ripple, rtol=1e-3)
    np.testing.assert_allclose(found.sweep.far, 2 * RIPPLED, atol=0.02)
    # What is advised has the far slope, and is trusted once it is chosen.
    again = check(RIPPLES[name], RIPPLED, **yaml.safe_load(found.advice)["derivative"])
    assert again.verdict == "trust"
    np.testing.assert_allclose(again.result.derivative, 2 * RIPPLED, rtol=1e-2)


def test_a_chosen_step_that_gives_neither_slope_is_not_trusted() -> None:
    found = check(RIPPLES["sawtooth"], RIPPLED, step=3e-4)
    assert found.verdict == "do not trust"
    assert "and this is neither" in found.sentence


@pytest.mark.parametrize("options", [{"scheme": "central"}, {"scheme": "forward"}, {"step": "auto"}])
@pytest.mark.parametrize(("at", "above"), [(1.0, True), (1.0, False), (-1.0, True), (-1.0, False)])
def test_at_a_jump_the_slope_is_that_of_the_smooth_side(at: float, above: bool, options: dict[str, Any]) -> None:
    def jumps(x: Floats) -> float:
        return math.exp(x[0]) + 3.0 * bool(x[0] > at if above else x[0] >= at)

    found = check(jumps, [at], **options)
    assert f"by 3, just {'above' if above else 'below'} x" in "".join(found.warnings)
    np.testing.assert_allclose(found.sweep.derivative, [math.exp(at)], rtol=1e-6)
    # A forward step has the sign of x: it is right where J is continuous on that side.
    right = options.get("scheme") == "forward" and (at > 0) != above
    assert found.verdict == ("trust" if right else "do not trust")
    if right:
        assert found.advice is None
        return
    better = yaml.safe_load(found.advice)["derivative"]
    assert better["scheme"] == ("backward" if above else "forward")
    again = check(jumps, [at], scheme=better["scheme"], step=distfd.AbsoluteStep(better["step"]["absolute"]))
    assert again.verdict == "trust"
    np.testing.assert_allclose(again.result.derivative, [math.exp(at)], rtol=1e-3)


def test_a_value_at_x_that_is_out_of_line_is_told_and_central_steps_do_without_it() -> None:
    found = check(lambda x: math.exp(x[0]) + 5.0 * (x[0] == 1.0), [1.0])
    assert found.verdict == "do not trust"
    assert "J(x) is out of line with J on both sides of x along coordinate 0, by 5" in "".join(found.warnings)
    np.testing.assert_allclose(found.sweep.derivative, [math.e], rtol=1e-6)
    assert "scheme: central" in found.advice


def test_auto_is_not_advised_where_it_is_set_and_what_stands_in_the_way_is_said() -> None:
    rng = np.random.default_rng(0)
    found = check(lambda x: float(1e-3 * x.sum() + rng.normal()), [1.0, 2.0], step="auto")
    assert found.verdict != "trust"
    assert found.advice is None
    assert "no step of any scheme does better: make J smoother (its noise is" in check_text(found)
    assert "nothing to change" not in check_text(found)


@pytest.mark.parametrize("seed", range(5))
def test_outliers_are_no_kinks_no_jumps_and_no_second_slope(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def outliers(x: Floats) -> float:
        return smooth(x) + 1e-6 * rng.normal() * (1000 if rng.random() < 0.01 else 1)

    text = "".join(check(outliers).warnings)
    assert "kink" not in text
    assert "jump" not in text
    assert "two scales" not in text


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-4])
def test_a_kink_is_told_with_noise_and_without(noise: float) -> None:
    rng = np.random.default_rng(3)
    found = check(lambda x: float(abs(x[0] - 1) + x[1] ** 2 + noise * rng.normal()), [1.0, 2.0])
    kinks = [text for text in found.warnings if "kink" in text]
    assert len(kinks) == 1
    assert "coordinate 0" in kinks[0]
    assert "coordinate 1" not in kinks[0]
