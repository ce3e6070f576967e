"""What people write who come from another package, or mistype: the answer names what to give here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import distfd


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
