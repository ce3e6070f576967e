"""What people write who come from another package, or mistype: the answer names what to give here."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import re
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

import distfd
from distfd.executors.ray.resources import Resources


def cost(x: Any) -> float:
    return float((np.asarray(x) ** 2).sum())


X = [1.0, 2.0]
KEYWORDS = {
    **dict.fromkeys(
        ("n_cores", "cores", "n_jobs", "workers", "parallel", "processes", "slots"), r"executor=distfd\.RayExecutor"
    ),
    **dict.fromkeys(("rel_step", "relative_step", "eps", "epsilon", "h", "dx"), "give step: a number is relative"),
    "abs_step": r"step=distfd\.AbsoluteStep",
    **dict.fromkeys(("method", "order"), "give scheme"),
    **dict.fromkeys(("progress", "verbose", "callback"), "give observers"),
    **dict.fromkeys(("cache", "checkpoint"), "give store="),
    **dict.fromkeys(("lower", "ub"), r"scipy\.optimize\.Bounds"),
    **dict.fromkeys(("retry", "max_retries"), "give retries"),
    "time_limit": "give timeout",
    "on_error": "give on_failure",
    "on_failur": r"did you mean 'on_failure'\?",
    "shceme": r"did you mean 'scheme'\?",
    "f0": "keeps J",
    "full_output": r"distfd\.differentiate",
    "sparsity": "jacobian and hessian take it",
    **dict.fromkeys(("fixed", "vary"), "lower == upper holds a coordinate fast"),
    **dict.fromkeys(("diff_step", "base_steps"), "give step: a number is relative"),
    **dict.fromkeys(("maximize", "tolerance", "cov", "weights"), "it has accuracy, args"),
    "zzz": "it has accuracy, args",
}
CALLS = {
    "gradient": distfd.gradient,
    "hessian": distfd.hessian,
    "Evaluator": lambda f, _, **more: distfd.Evaluator(f, **more),
}


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("word", KEYWORDS)
def test_a_keyword_that_there_is_not(function: str, word: str) -> None:
    if word in {"hessian": ("sparsity", "f0", "verbose"), "gradient": ("f0", "verbose")}.get(function, ()):
        return
    call: Any = CALLS[function]
    with pytest.raises(TypeError, match=rf"^{function}\(\) has no keyword '{word}'.*{KEYWORDS[word]}"):
        call(cost, X, executor="serial", **{word: 1})


@pytest.mark.parametrize(
    ("function", "word", "answer"),
    [
        ("gradient", "func", "give fun"),
        ("gradient", "params", "give x0"),
        ("least_squares", "fun", "give residuals"),
        ("least_squares", "weights", "give sigma: the standard deviations"),
        ("sensitivity", "x0", "give x"),
        ("sensitivity", "cov", "give sigma_x"),
        ("minimize", "x", "give x0"),
        ("minimize", "algorithm", "give method"),
        ("minimize", "maximize", "to maximise J, minimise -J"),
        ("minimize", "target", r"give limits=distfd\.Limits"),
    ],
)
def test_an_argument_of_another_name(function: str, word: str, answer: str) -> None:
    call: Any = getattr(distfd, function)
    with pytest.raises(TypeError, match=rf"^{function}\(\) has no keyword '{word}'; {answer}"):
        call(executor="serial", **{word: 1})


@pytest.mark.parametrize(
    ("function", "given", "answer"),
    [
        ("gradient", (cost, X, "central"), "takes fun and x0 by position alone; give the others by name"),
        ("minimize", (cost, X, (1,)), r"takes fun and x0 .* such as args=\(\.\.\.\) or method="),
        ("Evaluator", (cost, "central"), "takes fun by position alone"),
        ("RayExecutor", (4,), r"takes all arguments by name, such as num_cpus=4 \(got 4\)"),
        ("SerialExecutor", (4,), "takes all arguments by name, such as num_threads=1"),
    ],
)
def test_more_arguments_by_position_than_there_are(function: str, given: tuple[Any, ...], answer: str) -> None:
    call: Any = getattr(distfd, function)
    with pytest.raises(TypeError, match=rf"^{function}\(\) {answer}"):
        call(*given)


@pytest.mark.parametrize("word", ["maxiter", "maxfev"])
def test_a_limit_of_scipys(word: str) -> None:
    call: Any = distfd.minimize
    with pytest.raises(TypeError, match=rf"^minimize\(\) has no keyword '{word}'; give limits=distfd\.Limits"):
        call(cost, X, executor="serial", **{word: 3})


@pytest.mark.parametrize(
    ("scheme", "meant"),
    [
        ("3-point", "central"),
        ("2-point", "forward"),
        ("cs", "complex-step"),
        ("centrall", "central"),
        ("Central", "central"),
    ],
)
def test_a_scheme_of_another_name(scheme: Any, meant: str) -> None:
    with pytest.raises(distfd.InputError, match=rf"scheme: there is no '{scheme}'.*'{meant}'( is what you mean|\?)$"):
        distfd.gradient(cost, X, scheme=scheme, executor="serial")


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"timeout": "5min"}, "timeout: .*; that is 300$"),
        ({"timeout": timedelta(minutes=5)}, "timeout: .*; that is 300$"),
        ({"timeout": np.timedelta64(5, "s")}, "timeout: must be a number of seconds"),
        ({"observers": [distfd.Progress]}, r"observers: has the class Progress; make one of it: Progress\(\)"),
        ({"kwargs": [("a", 1)]}, "kwargs: must be a dict"),
        ({"kwargs": {1: 2}}, "kwargs: must be a dict"),
        ({"args": None}, "args: must be a tuple"),
        ({"store": ":memory:"}, "store: must be a path .*; leave store out"),
        ({"store": ""}, "store: must be a path"),
        ({"version": ["a"]}, "version: must be text"),
        ({"executor": distfd.RayExecutor}, r"executor: is the class RayExecutor; make one of it: RayExecutor\(\)"),
        ({"executor": "Ray"}, "did you mean 'ray'"),
        ({"executor": 4}, r"such as distfd\.RayExecutor\(num_cpus=4\)"),
    ],
)
def test_a_value_of_another_kind(options: dict[str, Any], answer: str) -> None:
    with pytest.raises(distfd.InputError, match=answer):
        distfd.gradient(cost, X, **options)


@pytest.mark.parametrize("word", ["n", "slots", "n_jobs", "num_workers", "cores"])
def test_slots_of_a_ray_executor(word: str) -> None:
    make: Any = distfd.RayExecutor
    with pytest.raises(distfd.InputError, match=rf"RayExecutor: there is no '{word}'; num_cpus=N"):
        make(**{word: 2})


@pytest.mark.parametrize(
    ("word", "meant"), [("max_slot", "max_slots"), ("keep_ideal", "keep_idle"), ("num_gpu", "num_gpus")]
)
def test_a_keyword_of_a_ray_executor_that_is_misspelled(word: str, meant: str) -> None:
    make: Any = distfd.RayExecutor
    with pytest.raises(distfd.InputError, match=rf"RayExecutor: there is no '{word}'; did you mean '{meant}'"):
        make(**{word: 2})


def test_an_evaluator_in_the_place_of_j() -> None:
    with (
        distfd.Evaluator(cost, executor="serial") as evaluator,
        pytest.raises(distfd.InputError, match=r"evaluator\.grad"),
    ):
        distfd.gradient(evaluator, X)


def test_j_and_x_the_other_way_round() -> None:
    call: Any = distfd.gradient
    with pytest.raises(distfd.InputError, match="J comes first"):
        call(X, cost)


def test_the_class_of_a_callable_in_the_place_of_one() -> None:
    class Model:
        def __call__(self, x: Any) -> float:
            return cost(x)

    with pytest.raises(distfd.InputError, match=r"fun: is the class Model, .* such as Model\(\)"):
        distfd.gradient(Model, X, executor="serial")
    assert distfd.gradient(Model(), X, executor="serial") == pytest.approx([2.0, 4.0])


def test_the_name_of_a_function() -> None:
    with pytest.raises(distfd.InputError, match="give the function itself, not its name"):
        distfd.gradient("module:cost", X, executor="serial")


def test_a_method_that_is_no_text() -> None:
    call: Any = distfd.minimize
    with pytest.raises(distfd.InputError, match=r"method: must be one of .* \(was 1\)"):
        call(cost, X, method=1, executor="serial")


def test_resources_given_in_two_places_are_both_kept() -> None:
    made = distfd.RayExecutor(resources=Resources(num_gpus=1), custom={"licence": 1})
    assert made._resources.needs == {"CPU": 1.0, "GPU": 1.0, "licence": 1.0}


@pytest.mark.parametrize("method", ["gradient", "value_and_gradient", "jacobian", "hessian"])
def test_an_option_of_the_evaluator_given_to_its_methods(method: str) -> None:
    with distfd.Evaluator(cost, executor="serial") as evaluator:
        call: Any = getattr(evaluator, method)
        with pytest.raises(
            TypeError, match=rf"^Evaluator\.{method}\(\) has no keyword 'scheme'; give it where you make"
        ):
            call(X, scheme="central")
        with pytest.raises(TypeError, match=rf"^Evaluator\.{method}\(\) takes x by position alone"):
            call(X, 5.0)


def test_what_a_kind_of_derivative_has_not() -> None:
    call: Any = distfd.differentiate
    with pytest.raises(distfd.InputError, match="hvp: has no argument 'directions'; beside x it takes v"):
        call(cost, X, kind="hvp", directions=[[1.0, 0.0]], executor="serial")
    with pytest.raises(distfd.InputError, match=r"kind: .*did you mean 'gradient'\?"):
        call(cost, X, kind="gradeint", executor="serial")


def test_maps_of_something_else() -> None:
    with distfd.Evaluator(cost, executor="serial") as evaluator:
        loose: Any = evaluator
        with pytest.raises(distfd.InputError, match="points: must be a list of points"):
            loose.map(None)
        with pytest.raises(distfd.InputError, match="map_function: takes a function and what to map it over"):
            loose.map_function(range(3), abs)


@pytest.mark.parametrize("callback", [lambda: None, lambda a, b, c: None, lambda x, *, k: None])
def test_a_callback_that_takes_something_else_is_refused_before_j_is_called(callback: Any) -> None:
    def untouched(x: Any) -> float:
        raise AssertionError("it was evaluated")

    with pytest.raises(distfd.InputError, match="callback: must take x, or x and a state"):
        distfd.minimize(untouched, X, callback=callback, executor="serial")


async def awaited(x: Any) -> float:
    return cost(x)


def yielding(x: Any) -> Any:
    yield cost(x)


class Plain:
    """A class that is no simulator."""


@pytest.mark.parametrize(
    ("fun", "options", "answer"),
    [
        (lambda: 1.0, {}, r"cannot be called as J\(x\): too many"),
        (lambda a, b: a * b, {}, r"as J\(x\): missing .* 'b'; .* lambda x: J\(\*x\) spreads it"),
        (cost, {"args": (1,)}, r"as J\(x, \*args\): too many"),
        (cost, {"kwargs": {"k": 1}}, r"as J\(x, \*\*kwargs\): got an unexpected keyword argument 'k'"),
        (Plain, {}, "Plain is a class; give one of its objects"),
        (awaited, {}, r"is async.* asyncio\.run"),
        (yielding, {}, "returns a generator"),
        (Plain(), {}, "was Plain.; give what computes"),
    ],
)
def test_a_j_that_cannot_be_called_is_refused_before_anything_starts(fun: Any, options: Any, answer: str) -> None:
    call: Any = distfd.gradient
    with pytest.raises(distfd.InputError, match=rf"^fun: .*{answer}"):
        call(fun, X, executor="no executor", **options)


def test_a_wrapper_gives_what_it_wraps_arguments_of_its_own() -> None:
    def scaled(x: Any, factor: float) -> float:
        return factor * cost(x)

    @functools.wraps(scaled)
    def wrapper(x: Any) -> float:
        return scaled(x, 2.0)

    assert distfd.gradient(wrapper, X, executor="serial") == pytest.approx([4.0, 8.0])


@pytest.mark.parametrize(
    ("x0", "answer"),
    [
        ({1.0, 2.0}, "give a list or an array of them"),
        ((k for k in X), "give a list or an array of them"),
        (cost, "J comes first"),
        ([1.0, None], "coordinate 1 is None"),
        ([[1.0, 2.0]], r"numpy\.ravel\(x0\) has one dimension"),
    ],
)
def test_an_x0_of_another_kind(x0: Any, answer: str) -> None:
    with pytest.raises(distfd.InputError, match=rf"^x0: .*{answer}"):
        distfd.gradient(cost, x0, executor="serial")


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"bounds": ([0.0] * 3, [5.0] * 3)}, r"give scipy\.optimize\.Bounds\(lb, ub\)"),
        ({"bounds": {"lower": [0.0] * 3, "upper": [5.0] * 3}}, r"give scipy\.optimize\.Bounds\(lower, upper\)"),
        ({"step": {"absolute": 1e-3}}, r"give distfd\.AbsoluteStep\(h\)"),
        ({"step": distfd.NoiseStep}, r"make one of it: NoiseStep\("),
        ({"step": "Auto"}, "did you mean 'auto'"),
        ({"timeout": "30"}, "give the number 30"),
        ({"observers": print}, "give a list that has it"),
        ({"executor": "ray://host:10001"}, r"distfd\.RayExecutor\(address='ray://host:10001'\)"),
    ],
)
def test_an_option_in_the_form_of_another_package(options: Any, answer: str) -> None:
    with pytest.raises(distfd.InputError, match=answer) as caught:
        distfd.gradient(cost, [1.0, 2.0, 3.0], **{"executor": "serial", **options})
    assert caught.value.__cause__ is None


def test_a_pool_of_pythons_is_no_executor() -> None:
    from concurrent.futures import ThreadPoolExecutor

    call: Any = distfd.gradient
    with pytest.raises(distfd.InputError, match=r"such as distfd\.RayExecutor\(num_cpus=4\)"):
        call(cost, X, executor=ThreadPoolExecutor)


@pytest.mark.parametrize(
    ("function", "given", "answer"),
    [
        ("gradient", (cost,), r"needs x0 too; distfd\.gradient\(fun, x0\) is the result at x0, and no function"),
        ("gradient", (), "needs fun and x0 too$"),
        ("hvp", (cost, X), "needs v too$"),
        ("Evaluator", (), "needs fun too$"),
    ],
)
def test_an_argument_that_is_missing(function: str, given: tuple[Any, ...], answer: str) -> None:
    call: Any = getattr(distfd, function)
    with pytest.raises(TypeError, match=rf"^{function}\(\) {answer}"):
        call(*given)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("grad", "distfd.gradient"),
        ("Jacobian", "distfd.jacobian"),
        ("check_grad", "distfd.check_gradient"),
        ("ClusterLostError", r"it is distfd\.errors\.ClusterLostError"),
        ("jax", "import distfd.jax first"),
        ("minimise", "did you mean 'minimize'"),
    ],
)
def test_a_name_of_another_package(name: str, answer: str) -> None:
    from distfd.core.other_names import what_to_call

    assert re.search(answer, what_to_call(name, distfd.__all__))
    if name != "jax":  # once it is imported, it is there
        with pytest.raises(AttributeError, match=answer):
            getattr(distfd, name)


def test_a_refusal_shows_the_callers_lines_and_not_distfds() -> None:
    def mine() -> None:
        distfd.gradient(cost, [1.0, np.nan], executor="serial")

    with pytest.raises(distfd.InputError) as caught:
        mine()
    names = [entry.name for entry in caught.traceback]
    assert names[1:] == ["mine", "answering"]


def test_lines_of_the_users_between_two_calls_of_distfds_are_shown() -> None:
    def inner(x: Any) -> None:
        distfd.gradient(cost, [np.nan], executor="serial")

    with pytest.raises(distfd.InputError) as caught:
        distfd.minimize(cost, X, callback=inner, executor="serial")
    assert "inner" in [entry.name for entry in caught.traceback]


def test_a_warning_points_at_the_callers_line() -> None:
    def fails(event: Any) -> None:
        raise RuntimeError("no")

    with pytest.warns() as caught:
        distfd.gradient(cost, X, executor="serial", observers=[fails], timeout=300)
    assert {"RuntimeWarning", "DerivativeWarning"} == {one.category.__name__ for one in caught}
    assert {one.filename for one in caught} == {__file__}


def test_an_evaluator_is_not_pickled_or_copied() -> None:
    with distfd.Evaluator(cost, executor="serial") as evaluator:
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=r"an Evaluator cannot be pickled or copied, .* one in each process"):
                way(evaluator)


def test_methods_that_take_no_gradient() -> None:
    call: Any = distfd.minimize
    with pytest.raises(distfd.InputError, match="these take gradients: for a method that takes none"):
        call(cost, X, method="Nelder-Mead", executor="serial")
    with pytest.raises(distfd.InputError, match="journal: must be a path"):
        call(cost, X, journal=3, executor="serial")


def test_bounds_of_curve_fit_as_pairs() -> None:
    call: Any = distfd.curve_fit
    with pytest.raises(distfd.InputError, match=r"bounds: must be \(lower, upper\)"):
        call(lambda t, a, b, c: a + b * t + c, X, X, bounds=[(0, 1)] * 3, executor="serial")


def test_methods_that_answer_misuse_keep_their_signature_where_a_library_wraps_them() -> None:
    with distfd.Evaluator(cost, executor="serial") as evaluator:
        for method in (evaluator.gradient, evaluator.value_and_gradient, evaluator.hessian):
            wrapped = functools.update_wrapper(functools.partial(method), method)  # as optimagic does
            assert "self" not in inspect.signature(wrapped).parameters
            assert next(iter(inspect.signature(method).parameters)) == "x"


@pytest.mark.parametrize("function", [distfd.minimize, distfd.least_squares])
def test_the_whole_of_a_run_is_in_its_result(function: Any) -> None:
    with pytest.raises(TypeError, match="no keyword 'full_output'; the result has all that is known of the run"):
        function(cost, X, full_output=True)


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("maxiter", "give max_iterations"),
        ("max_nfev", "give max_evaluations"),
        ("timeout", "give max_wall_time"),
        ("ftol", "give tolerance"),
        ("targets", "did you mean 'target'"),
    ],
)
def test_a_word_that_limits_do_not_have(word: str, answer: str) -> None:
    with pytest.raises(TypeError, match=rf"^Limits\(\) has no keyword '{word}'; {answer}"):
        distfd.Limits(**{word: 3})
    assert distfd.Limits(3, target=1.0) == distfd.Limits(max_iterations=3, target=1.0)
