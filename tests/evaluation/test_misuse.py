"""What people write who come from another package, or mistype: the answer names what to give here."""

from __future__ import annotations

import functools
import inspect
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


def test_methods_that_answer_misuse_keep_their_signature_where_a_library_wraps_them() -> None:
    with distfd.Evaluator(cost, executor="serial") as evaluator:
        for method in (evaluator.gradient, evaluator.value_and_gradient, evaluator.hessian):
            wrapped = functools.update_wrapper(functools.partial(method), method)  # as optimagic does
            assert "self" not in inspect.signature(wrapped).parameters
            assert next(iter(inspect.signature(method).parameters)) == "x"
