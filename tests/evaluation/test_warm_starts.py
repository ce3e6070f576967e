"""Warm starts: what each point starts from, what that does to its identity, and what it costs."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solving import bits

import distfd
import distfd.differentiation.hessian_vector
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

X = np.array([0.4, -0.7, 1.1])
COLD = np.zeros(2)
STEP = distfd.AbsoluteStep(1e-3)


def run(state: Floats, x: Floats) -> tuple[float, Floats]:
    """J at x from a state, and the state after: an iteration that stops early, so that where it starts shows."""
    state = np.cos(0.5 * state + np.array([x.sum(), x @ x]))
    return float(state.sum()), state


class Iterating:
    """Hands out its live state, and keeps hold of what it is given: neither may matter."""

    evaluations = 0

    def reset(self) -> None:
        self.state = COLD.copy()

    def evaluate(self, x: Floats) -> float:
        type(self).evaluations += 1
        value, self.state[:] = run(self.state, x)
        return value

    def snapshot(self) -> Floats:
        return self.state

    def restore(self, state: Floats) -> None:
        self.state = state


@pytest.fixture(autouse=True)
def _count() -> None:
    Iterating.evaluations = 0


def forward(start: Floats, x: Floats, base: float) -> Floats:
    """The gradient with every point but x from this state."""
    rows = []
    for k in range(len(x)):
        at = x.copy()
        at[k] = x[k] + 1e-3
        rows.append((run(start, at)[0] - base) / (at[k] - x[k]))
    return np.array(rows)


def evaluator(warm: Any, **options: Any) -> distfd.Evaluator:
    fun = options.pop("fun", Iterating)
    # The count of its evaluations is a class attribute, and so part of what a class is to its fingerprint.
    options = {"executor": "serial", "step": STEP, "version": "1", **options}
    return distfd.Evaluator(fun, **options, warm=warm)


# --- the modes --------------------------------------------------------------------------------------------------


def test_baseline_sends_its_state_to_all_other_points() -> None:
    value, state = run(COLD, X)
    with evaluator("baseline") as ev:
        found = ev.differentiate(X)
        assert bits(found.derivative) == bits(forward(state, X, value))
        assert (found.value, found.n_evaluations, found.n_reused) == (value, 4, 0)
        assert bits(ev.gradient(X)) == bits(found.derivative)
        # Another x begins from the first state again: nothing of the call before is in it.
        other = X + 1
        value, state = run(COLD, other)
        assert bits(ev.gradient(other)) == bits(forward(state, other, value))
    assert Iterating.evaluations == 8
    with evaluator(None) as ev:
        assert bits(ev.gradient(X)) != bits(found.derivative)


def test_iterate_starts_from_what_the_x_before_left() -> None:
    with evaluator("iterate") as ev:
        start = COLD
        for x in (X, X + 0.5, X - 0.5):
            value, after = run(start, x)
            assert ev.value(x) == value
            found = ev.differentiate(x)
            assert found.value == value, "the same x begins where it began before, and shares its baseline"
            assert found.n_reused == 1
            assert bits(found.derivative) == bits(forward(start, x, value))
            start = after
        np.testing.assert_array_equal(ev.map([X]), [run(start, X)[0]])


def test_an_optimizer_starts_all_trials_from_its_last_iterate() -> None:
    asked: list[Floats] = []

    class Noting(Iterating):
        def evaluate(self, x: Floats) -> float:
            asked.append(np.array([*self.state, *x]))
            return super().evaluate(x)

    iterates: list[Floats] = [COLD]
    with evaluator("iterate", fun=Noting) as ev:
        distfd.minimize(ev, X, options={"maxiter": 4}, callback=lambda x: iterates.append(x.copy()))
    starts = {tuple(row[:2]) for row in asked}
    states, state = [tuple(COLD)], COLD
    for x in iterates[1:]:
        state = run(state, x)[1]
        states.append(tuple(state))
    assert starts <= set(states)
    assert len(starts) > 2


def test_a_simulator_without_reset_goes_back_by_restore() -> None:
    value, state = run(COLD, X)

    class Bare:
        evaluations = 0

        def __init__(self) -> None:
            self.state = COLD.copy()

        evaluate, snapshot, restore = Iterating.evaluate, Iterating.snapshot, Iterating.restore

    with evaluator("baseline", fun=Bare) as ev:
        assert bits(ev.gradient(X)) == bits(forward(state, X, value))


def test_a_product_in_several_requests_starts_each_from_the_same_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    with evaluator("baseline") as ev:
        wanted = ev.hvp(X, [1.0, 0.0, -1.0])
    monkeypatch.setattr(distfd.differentiation.hessian_vector, "_MOST_CHANGES", 1)
    with evaluator("baseline") as ev:
        assert bits(ev.hvp(X, [1.0, 0.0, -1.0])) == bits(wanted)


@pytest.mark.parametrize("warm", ["baseline", pytest.param("iterate", marks=pytest.mark.slow)])
def test_on_ray_it_is_the_same_bit_for_bit(warm: str, private_ray: None) -> None:
    found = {}
    for slots in (0, 2):
        executor: Any = distfd.RayExecutor(max_slots=slots) if slots else "serial"
        with evaluator(warm, fun=Large, executor=executor, check=False) as ev:
            found[slots] = [bits(ev.gradient(x)) for x in (X, X + 0.5)]
    assert found[2] == found[0]


@pytest.mark.nightly
@pytest.mark.parametrize("warm", ["baseline", "iterate"])
@pytest.mark.parametrize("slots", [1, 4])
def test_for_any_number_of_slots_it_is_the_same(warm: str, slots: int, private_ray: None) -> None:
    x = np.linspace(-1, 1, 40)
    found = []
    for executor in ("serial", distfd.RayExecutor(max_slots=slots)):
        with evaluator(warm, fun=Large, executor=executor, check=False) as ev:
            found.append([bits(ev.gradient(at)) for at in (x, x + 0.5)])
    assert found[0] == found[1]


class Large(Iterating):
    """Its state is too large to travel with each chunk."""

    def snapshot(self) -> Any:
        return {"state": self.state, "mesh": np.full(50_000, self.state[0])}

    def restore(self, state: Any) -> None:
        assert (state["mesh"] == state["state"][0]).all()
        self.state = state["state"]


# --- identity, and resuming -------------------------------------------------------------------------------------


def test_values_from_different_starts_are_different_values(tmp_path: Path) -> None:
    store = tmp_path / "run.sqlite"
    found = {}
    for warm in (None, "baseline", "iterate"):
        with evaluator(warm, store=store) as ev:
            ev.gradient(X + 1)
            found[warm] = ev.differentiate(X)
    for warm, result in found.items():
        with evaluator(warm) as ev:
            ev.gradient(X + 1)
            assert bits(ev.gradient(X)) == bits(result.derivative)
    # J(x) from the first state is one value, whoever asks for it.
    assert found["baseline"].n_reused == 1
    assert found["iterate"].n_reused == 0


def test_what_is_known_needs_no_state(tmp_path: Path) -> None:
    with evaluator("baseline", store=tmp_path / "run.sqlite") as ev:
        wanted = ev.gradient(X)
    with evaluator("baseline", store=tmp_path / "run.sqlite") as ev:
        again = ev.differentiate(X)
    assert bits(again.derivative) == bits(wanted)
    assert (again.n_evaluations, again.n_reused, Iterating.evaluations) == (0, 4, 4)


def test_a_state_that_is_gone_is_made_again_and_counted(tmp_path: Path) -> None:
    with evaluator("baseline", store=tmp_path / "run.sqlite") as ev:
        ev.value(X)
    with evaluator("baseline", store=tmp_path / "run.sqlite") as ev:
        found = ev.differentiate(X)
    value, state = run(COLD, X)
    assert bits(found.derivative) == bits(forward(state, X, value))
    assert (found.n_evaluations, found.n_reused) == (4, 1), "3 points, and the baseline once more"
    assert len(found.evaluations) == 5
    assert Iterating.evaluations == 5
    with sqlite3.connect(tmp_path / "run.sqlite") as con:
        (rows,) = con.execute("SELECT count(*) FROM evaluations WHERE status = 'ok'").fetchone()
    con.close()
    assert rows == 5, "every one of them is in the books"


def test_an_optimisation_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    def minimize(store: Path | None, iterations: int) -> Any:
        with evaluator("iterate", store=store) as ev:
            return distfd.minimize(ev, X, options={"maxiter": iterations})

    wanted = minimize(None, 6)
    assert wanted.nit >= 4
    Iterating.evaluations = 0
    minimize(tmp_path / "run.sqlite", 3)
    found = minimize(tmp_path / "run.sqlite", 6)
    assert bits(found.x) == bits(wanted.x)
    assert found.fun == wanted.fun
    assert found.n_reused > 0
    assert found.n_evaluations + found.n_reused > wanted.n_evaluations, "the states of the first iterates, once more"
    assert Iterating.evaluations < 2 * wanted.n_evaluations


POINTS = [X, X + 0.25, X - 0.25]


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from(["value", "gradient", "new"]), st.integers(0, 2)), max_size=6))
def test_whatever_is_asked_again_after_a_cut_has_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, int]]
) -> None:
    """A new Evaluator on the same store ("new") must answer the same calls as before, and go on, as one alone would."""
    store = tmp_path_factory.mktemp("store") / "run.sqlite"

    def answers(ev: distfd.Evaluator, upto: int) -> list[list[int]]:
        asked = [call for call in calls[:upto] if call[0] != "new"]
        return [bits(np.atleast_1d(getattr(ev, what)(POINTS[k]))) for what, k in asked]

    with evaluator("iterate") as ev:
        wanted = answers(ev, len(calls))
    for upto in [k for k, call in enumerate(calls) if call[0] == "new"] + [len(calls)]:
        with evaluator("iterate", store=store) as ev:
            assert answers(ev, upto) == wanted[: sum(call[0] != "new" for call in calls[:upto])]


# --- what goes wrong --------------------------------------------------------------------------------------------


def test_what_cannot_start_warm_is_refused_before_anything_runs() -> None:
    class Cold:
        def reset(self) -> None:
            raise AssertionError("it ran")

        evaluate = reset

    class Half(Cold):
        def snapshot(self) -> None:
            raise AssertionError("it ran")

    cases: list[tuple[Any, str, str]] = [
        (Cold, "baseline", r"needs snapshot\(\) and restore\(state\), and Cold has no snapshot and no restore"),
        (Half, "iterate", r"Half has no restore$"),
        (np.sum, "baseline", "J is a function"),
        (Iterating, "first", r"warm: must be baseline, iterate or None \(was 'first'\)"),
    ]
    for fun, warm, pattern in cases:
        with pytest.raises(distfd.InputError, match=pattern):
            evaluator(warm, fun=fun)


def test_a_baseline_that_fails_ends_it() -> None:
    class Failing(Iterating):
        def evaluate(self, x: Floats) -> float:
            super().evaluate(x)
            raise ValueError("no convergence")

    with evaluator("baseline", fun=Failing) as ev, pytest.raises(distfd.EvaluationError, match="no convergence"):
        ev.gradient(X)
    assert Failing.evaluations == 1


def test_a_state_that_cannot_travel_is_the_evaluations_failure() -> None:
    class Holding(Iterating):
        def snapshot(self) -> Any:
            return lambda: self.state

    with (
        evaluator("baseline", fun=Holding) as ev,
        pytest.raises(
            distfd.EvaluationError, match=r"state that snapshot.* returned .*cannot be pickled.*return arrays"
        ),
    ):
        ev.gradient(X)


def test_a_baseline_that_fails_when_made_again_is_told(tmp_path: Path) -> None:
    flag = tmp_path / "broken"

    class Breaking(Iterating):
        def evaluate(self, x: Floats) -> float:
            if flag.exists():
                raise RuntimeError("licence gone")
            return super().evaluate(x)

    options: dict[str, Any] = {"fun": Breaking, "store": tmp_path / "run.sqlite"}
    with evaluator("baseline", **options) as ev:
        ev.value(X)
    flag.touch()
    with (
        evaluator("baseline", **options) as ev,
        pytest.raises(distfd.EvaluationError, match=r"x itself[\s\S]*licence gone"),
    ):
        ev.gradient(X)


# --- programs ---------------------------------------------------------------------------------------------------

SOLVER = """\
read x warm < deck
state=0
if [ $warm = True ]; then state=$(cat out/state); elif [ -f out/state ]; then exit 3; fi
mkdir -p out
awk -v x="$x" -v s="$state" 'BEGIN {printf "%.17g\\n", x * x + s}'
awk -v x="$x" -v s="$state" 'BEGIN {printf "%.17g\\n", 0.5 * s + x}' > out/state
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., CommandObjective]:
    (tmp_path / "solver.sh").write_text(SOLVER)
    (tmp_path / "deck.j2").write_text("{{ x[0] }} {{ warm }}\n")

    def made(**options: Any) -> CommandObjective:
        given: dict[str, Any] = {
            "inputs": {"deck": "deck.j2"},
            "copy": ["solver.sh"],
            "outputs": {"J": {"file": "stdout", "regex": "(.+)"}},
            "restart": ["out/state"],
            "base": tmp_path,
            "work": tmp_path / "work",
        }
        return CommandObjective(["sh", "solver.sh"], **{**given, **options})

    return made


def test_a_program_starts_from_the_baselines_restart_files(program: Callable[..., CommandObjective]) -> None:
    with evaluator("baseline", fun=program()) as ev:
        found = ev.differentiate([2.0])
        # From 0 the baseline is 4 and leaves 2; the other is (2 + h)^2 + 2.
        np.testing.assert_allclose(found.derivative, [(2.001**2 + 2 - 4) / 0.001], rtol=1e-9)
    with evaluator("iterate", fun=program()) as ev:
        assert (ev.value([2.0]), ev.value([3.0]), ev.value([1.0])) == (4.0, 11.0, 5.0)


def test_restart_files_that_are_not_there_are_named(program: Callable[..., CommandObjective]) -> None:
    fun = program(restart=["out/state", "out/mesh"])
    with evaluator("baseline", fun=fun) as ev, pytest.raises(distfd.EvaluationError) as error:
        ev.gradient([2.0])
    assert "restart file out/mesh: the program did not write it" in str(error.value)
    assert "work directory" in str(error.value)


def test_restart_and_warm_go_together(program: Callable[..., CommandObjective]) -> None:
    with pytest.raises(distfd.InputError, match=r"restart: out/state is of use with a warm start alone"):
        evaluator(None, fun=program())
    with pytest.raises(distfd.InputError, match="needs the program's restart files"):
        evaluator("baseline", fun=program(restart=()))
    with pytest.raises(distfd.InputError, match="restart: deck is written by distfd itself"):
        program(restart=["deck"])
    with pytest.raises(distfd.InputError, match="leave the work directory"):
        program(restart=["../state"])
    assert program().fingerprint() != program(restart=["other"]).fingerprint()
