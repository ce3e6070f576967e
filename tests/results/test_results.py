"""From batches to waves, tallies and records: the order of arrival changes no bit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solving import ask, bits, method, plan, rosenbrock, trigonometric

import distfd
from distfd.core.describe import coordinate_label, numbered
from distfd.core.points import dense_points
from distfd.core.records import Batch, Failure, Status
from distfd.differentiation.method import Answer, Request, Wave
from distfd.differentiation.stencils import SCHEMES
from distfd.evaluation.tally import Tally, gather
from distfd.optimization.minimize_result import MinimizeResult
from distfd.results.derivative_result import efficiency_text, euclidean_norm
from distfd.results.evaluations import Evaluations, evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.method import Method

    Floats = NDArray[np.float64]
    Outcome = Floats | Status

X = np.array([0.3, -1.2, 2.0])


def batch(outcomes: Mapping[int, Outcome], attempt: int = 1, **other: Any) -> Batch:
    """One batch with these points in this order: their values, or how they failed."""
    values = [np.empty(0) if isinstance(o, Status) else o for o in outcomes.values()]
    n = len(outcomes)
    failed = {k: o for k, o in outcomes.items() if isinstance(o, Status)}
    return Batch(
        index=np.array(list(outcomes), dtype=np.int64),
        status=np.array([o if isinstance(o, Status) else Status.OK for o in outcomes.values()], dtype=np.uint8),
        size=np.array([len(v) for v in values], dtype=np.int64),
        flat=np.concatenate([np.empty(0), *values]),
        started=np.full(n, 100.0),
        ended=100.0 + np.arange(1.0, n + 1),
        attempt=np.full(n, attempt, dtype=np.int32),
        host="node",
        pid=7,
        slot=3,
        failures={k: Failure(status, f"{status.word} at {k}") for k, status in failed.items()},
        **other,
    )


def evaluated(request: Request, vector: bool, failed: Mapping[int, Status] | None = None) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    for k in range(len(request.points)):
        at = request.points.dense(k)
        outcomes[k] = trigonometric(at) if vector else np.array([rosenbrock(at)])
    return {**outcomes, **(failed or {})}


@st.composite
def arrivals(draw: st.DrawFn, outcomes: Mapping[int, Outcome]) -> list[Batch]:
    """The outcomes in any order, split into batches anywhere."""
    order = draw(st.permutations(list(outcomes)))
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - 1)))) if len(order) > 1 else []
    parts = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    return [batch({k: outcomes[k] for k in part}) for part in parts]


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES)
@given(st.data())
def test_any_order_of_arrival_gives_the_same_bits(scheme: str, vector: bool, data: st.DataObject) -> None:
    plan = method(X, scheme, vector=vector)
    request = ask(plan)
    numbers = st.integers(1, len(request.points) - 1)
    failed = data.draw(st.dictionaries(numbers, st.sampled_from([Status.ERROR, Status.CRASH, Status.TIMEOUT])))
    outcomes = evaluated(request, vector, failed)
    wanted = gather(request, [batch(outcomes)])
    wave = gather(request, data.draw(arrivals(outcomes)))
    assert bits(wave.values) == bits(wanted.values)
    assert wave.status.tolist() == wanted.status.tolist()
    assert wave.failures == wanted.failures
    answer, whole = plan.advance([wave]), plan.advance([wanted])
    assert isinstance(answer, Answer)
    assert isinstance(whole, Answer)
    assert bits(answer.derivative) == bits(whole.derivative)
    assert answer.missing.tolist() == sorted({int(request.points.changes(k)[0][0]) for k in failed})


EVERY_KIND: dict[str, tuple[str, dict[str, Any]]] = {
    "complex step": ("complex-step", {"kind": "jacobian"}),
    "sparse": ("central", {"kind": "jacobian", "sparsity": np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1]])}),
    "sparse complex": ("complex-step", {"kind": "jacobian", "sparsity": [[1, 1, 1], [1, 0, 1], [1, 1, 1]]}),
    "hessian": ("forward", {"kind": "hessian"}),
    "hvp": ("forward", {"kind": "hvp", "v": X}),
    "directional": ("central", {"kind": "directional", "directions": np.array([X, X[::-1]])}),
    "complex jvp": ("complex-step", {"kind": "jvp", "v": X}),
}


def answered(asked: Method[Answer], first: Wave, fun: Callable[[Any], Any]) -> Answer:
    """What the method says after this wave, and the others that it wants then."""
    waves = [first]
    while isinstance(step := asked.advance(waves), Request):
        values = np.array([np.atleast_1d(fun(step.points.dense(k))) for k in range(len(step.points))])
        waves.append(Wave(step, values, np.full(len(values), Status.OK, dtype=np.uint8)))
    return step


@pytest.mark.parametrize(("scheme", "particulars"), EVERY_KIND.values(), ids=EVERY_KIND)
@settings(max_examples=25)
@given(st.data())
def test_any_order_of_arrival_gives_the_same_bits_for_every_kind(
    scheme: str, particulars: dict[str, Any], data: st.DataObject
) -> None:
    asked = plan(x=X, scheme=scheme, **particulars)
    request = asked.advance(())
    assert isinstance(request, Request)
    fun = trigonometric if request.vector else rosenbrock
    # Complex values travel as twice as many numbers.
    outcomes: dict[int, Outcome] = {
        k: np.atleast_1d(fun(request.points.dense(k))).view(np.float64) for k in range(len(request.points))
    }
    last = len(outcomes) - 1 - len(request.optional)
    lost = data.draw(st.sets(st.integers(1, last), max_size=min(2, last - 1)))
    outcomes |= dict.fromkeys(lost, Status.CRASH)
    waves = [gather(request, [batch(outcomes)]), gather(request, data.draw(arrivals(outcomes)))]
    assert waves[0].values.dtype.kind == ("c" if scheme == "complex-step" else "f")
    assert bits(waves[0].values) == bits(waves[1].values)
    whole, other = (answered(asked, wave, fun) for wave in waves)
    derivatives = [a.derivative.data if hasattr(a.derivative, "nnz") else a.derivative for a in (whole, other)]
    assert bits(derivatives[0]) == bits(derivatives[1])
    assert whole.missing.tolist() == other.missing.tolist()
    assert np.isnan(derivatives[0]).any() == bool(len(whole.missing)) == bool(lost)


@given(st.data())
def test_what_did_not_come_is_not_run_and_nan(data: st.DataObject) -> None:
    request = ask(method(X, "central"))
    outcomes = evaluated(request, vector=False)
    came = data.draw(st.lists(st.sampled_from(range(len(outcomes))), unique=True))
    wave = gather(request, [batch({k: outcomes[k]}) for k in came])
    for k in range(len(outcomes)):
        assert wave.status[k] == (Status.OK if k in came else Status.NOT_RUN)
        wanted = rosenbrock(request.points.dense(k)) if k in came else math.nan
        assert bits(wave.values[k]) == bits(np.array(wanted))


@pytest.mark.parametrize("sizes", [(3, 2, 3, 3), (2, 2, 2, 3), (3, 1, 3, 3), (3, 2, 1, 3)])
@given(st.data())
def test_another_number_of_outputs_than_at_x_is_a_failure(sizes: Sequence[int], data: st.DataObject) -> None:
    request = ask(method(X, vector=True))
    outcomes: dict[int, Outcome] = {k: np.arange(1.0, size + 1) for k, size in enumerate(sizes)}
    wave = gather(request, data.draw(arrivals(outcomes)))
    odd = [k for k, size in enumerate(sizes) if size != sizes[0]]
    assert np.flatnonzero(wave.status != Status.OK).tolist() == odd == sorted(wave.failures)
    assert np.flatnonzero(np.isnan(wave.values).all(axis=1)).tolist() == odd
    assert wave.values.shape == (4, sizes[0])
    for k in odd:
        assert wave.failures[k].status == Status.ERROR
        assert wave.failures[k].text == f"J returned {sizes[k]} outputs here and {sizes[0]} at x"


def test_a_failed_baseline_makes_no_other_point_a_failure() -> None:
    request = ask(method(X, vector=True))
    outcomes = evaluated(request, vector=True, failed={0: Status.TIMEOUT})
    wave = gather(request, [batch(outcomes)])
    assert wave.status.tolist() == [Status.TIMEOUT, Status.OK, Status.OK, Status.OK]
    assert list(wave.failures) == [0]
    assert bits(wave.values[1]) == bits(trigonometric(request.points.dense(1)))


def test_without_a_baseline_the_first_point_with_a_value_counts_the_outputs() -> None:
    request = Request(dense_points([[1.0], [2.0], [3.0], [4.0]]), vector=True)
    outcomes: dict[int, Outcome] = {3: np.ones(2), 2: np.ones(3), 1: np.ones(2), 0: Status.CRASH}
    for one_by_one in ([batch({k: o}) for k, o in outcomes.items()], [batch(outcomes)]):
        wave = gather(request, one_by_one)
        assert wave.status.tolist() == [Status.CRASH, Status.OK, Status.ERROR, Status.OK]
        assert wave.failures[2].text == "J returned 3 outputs here and 2 at other points"


def test_several_outputs_for_a_gradient_are_failures_that_say_what_to_do() -> None:
    request = ask(method(X))
    outcomes = evaluated(request, vector=False) | {2: np.ones(3)}
    wave = gather(request, [batch(outcomes)])
    assert wave.status.tolist() == [Status.OK, Status.OK, Status.ERROR, Status.OK]
    assert wave.failures[2].text == "J must return a number; it returned 3 (for several outputs use jacobian)"
    wave = gather(request, [batch(evaluated(request, vector=True))])
    assert wave.status.tolist() == [Status.ERROR] * 4
    assert sorted(wave.failures) == [0, 1, 2, 3]


def test_nothing_at_all_is_a_wave_too() -> None:
    wave = gather(ask(method(X, vector=True)), [])
    assert wave.status.tolist() == [Status.NOT_RUN] * 4
    assert wave.values.shape == (4, 1)
    assert np.isnan(wave.values).all()


def mixed() -> tuple[Request, list[Batch]]:
    request = ask(method(X, vector=True))
    first = batch({2: np.array([1.0, 2.0]), 1: Status.CRASH, 0: np.array([5.0])}, attempt=2)
    return request, [first, batch({3: np.array([8.0])}, reused=True)]


def test_evaluations_are_a_sequence_in_order_of_arrival() -> None:
    request, batches = mixed()
    evaluations = Evaluations([(request, batches), (request, [batches[1]])], coordinate_label(["a", "b", "c"]))
    assert len(evaluations) == 5
    assert [e.index for e in evaluations] == [2, 1, 0, 3, 3]
    assert [e.index for e in reversed(evaluations)] == [3, 3, 0, 1, 2]
    assert evaluations[-1].index == evaluations[4].index == 3
    assert [e.index for e in evaluations[1:4]] == [1, 0, 3]
    assert [e.index for e in evaluations[::-2]] == [3, 0, 2]
    for outside in (5, -6):
        with pytest.raises(IndexError):
            evaluations[outside]
    assert list(Evaluations([], numbered)) == []


def test_an_evaluation_tells_all_that_its_row_holds() -> None:
    request, batches = mixed()
    two, crashed, baseline, reused = Evaluations([(request, batches)], coordinate_label(["a", "b", "c"]))
    assert np.array_equal(two.value, [1.0, 2.0])  # type: ignore[arg-type]  # it has one
    assert two.changes == ((1, request.points.values[1]),)
    assert two.label.startswith("coordinate 1 ('b'), x = -1.2")
    assert (two.attempt, two.host, two.pid, two.slot, two.seconds) == (2, "node", 7, 3, 1.0)
    assert (two.status, two.failure, two.reused) == (Status.OK, None, False)
    assert (crashed.status, crashed.value) == (Status.CRASH, None)
    assert crashed.failure is not None
    assert crashed.failure.text == "crash at 1"
    assert crashed.seconds == 2.0
    assert (baseline.value, baseline.changes, baseline.label) == (5.0, (), "x itself (the baseline)")
    assert type(baseline.value) is float
    assert (reused.value, reused.reused) == (8.0, True)
    again = evaluation(request, batches[0], 2, numbered)
    assert (again.value, again.index) == (5.0, 0)


def test_a_tally_counts_points_retries_failures_and_ideal_time() -> None:
    request, batches = mixed()
    tally = Tally()
    assert tally.efficiency is None
    tally.add(gather(request, [batches[1]]), [batches[1]], slots=2, wall_seconds=0.5)
    assert (tally.n_evaluations, tally.n_reused, tally.ideal_seconds) == (0, 1, 0.0)
    assert tally.efficiency is None
    tally.add(gather(request, batches), batches, slots=2, wall_seconds=3.5)  # 1 + 2 + 3 s on two slots: 3 s at best
    assert (tally.n_evaluations, tally.n_reused, tally.n_failed, tally.n_retried) == (3, 2, 2, 3)
    assert [tally.ideal_seconds, tally.wall_seconds, tally.efficiency] == [3.0, 4.0, 0.75]
    tally.add(gather(request, [batches[0]]), [batches[0]], slots=1, wall_seconds=12.0)
    assert [tally.ideal_seconds, tally.efficiency] == [9.0, 9 / 16]
    assert [len(batches) for _, batches in tally.waves] == [1, 2, 1]


@pytest.mark.parametrize(
    ("wall", "start", "text"),
    [
        (10.0, None, "efficiency 0.20"),
        (10.0, 0.0, "efficiency 0.20"),
        (10.0, 0.4, "efficiency 0.20"),
        (10.0, 7.5, "efficiency 0.80 once the first worker was up (7.5 s before that; 0.20 with it)"),
        (10.0, 10.0, "efficiency 0.20"),
    ],
)
def test_the_start_of_workers_is_told_apart(wall: float, start: float | None, text: str) -> None:
    assert efficiency_text(0.2, wall, start) == text


def test_the_first_call_of_a_session_has_the_start_and_the_second_has_none(private_ray: None) -> None:
    with distfd.Evaluator(lambda x: float(x @ x), executor=distfd.RayExecutor(max_slots=2)) as ev:
        first, second = ev.differentiate([1.0, 2.0]), ev.differentiate([1.0, 3.0])
    assert 0.0 < first.start_seconds <= first.wall_seconds
    assert second.start_seconds == 0.0
    assert distfd.differentiate(lambda x: float(x @ x), [1.0], executor="serial").start_seconds < 1.0


@pytest.mark.parametrize(
    ("vector", "length"),
    [([3.0, 4.0], 5.0), ([3e300, -4e300], 5e300), ([3e-170, 4e-170], 5e-170), ([], 0.0), ([0.0, -0.0], 0.0)],
)
def test_a_length_is_known_where_its_square_is_none(vector: list[float], length: float) -> None:
    assert euclidean_norm(np.array(vector)) == pytest.approx(length, rel=1e-15)
    assert math.isnan(euclidean_norm(np.array([*vector, math.nan])))


def test_a_huge_gradient_is_told_with_its_length() -> None:
    def steep(x: Any) -> float:
        return 1e300 * float(np.sum(x))

    found = distfd.differentiate(steep, [2.0, 3.0], executor="serial")
    assert "|g| = 1.41421e+300" in repr(found)
    assert "|g| = 5e+200" in repr(MinimizeResult(fun=1.0, jac=[3e200, 4e200]))
