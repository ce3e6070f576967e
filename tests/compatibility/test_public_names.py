"""Public names, their parameters and what these default to stay as they are recorded; more may come."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from recorded import MODULES, NAMES, NEEDS, complaints, public_names, read

import distfd

if TYPE_CHECKING:
    from pathlib import Path

RECORD = read(NAMES)
SIGNATURES: dict[str, Any] = RECORD["signatures"]
PRESENT: dict[str, Any] = public_names()["signatures"]
START = np.array([0.5, -0.25])
STRUCTURE = np.array([[1, 0], [0, 1]])


def test_names_of_the_package() -> None:
    assert set(RECORD["__all__"]) <= set(distfd.__all__)
    for name in RECORD["__all__"]:
        assert getattr(distfd, name) is not None


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_where_they_were(module: str) -> None:
    assert importlib.util.find_spec(module) is not None
    if (needed := NEEDS.get(module)) is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"NOT TESTED: {needed} is missing, so what is in {module} was not looked at")
    found = importlib.import_module(module)
    assert [name for name in MODULES[module] if not hasattr(found, name)] == []


def test_plot_is_there_without_an_import_of_its_own() -> None:
    assert distfd.plot.timeline is importlib.import_module("distfd.plot").timeline
    assert distfd.errors is importlib.import_module("distfd.errors")


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    needed = NEEDS.get(name.rpartition(".")[0])
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"NOT TESTED: {needed} is missing")
    recorded, present = SIGNATURES[name], PRESENT[name]
    if isinstance(recorded, list):
        assert complaints(name, recorded, present) == []
        return
    assert complaints(name, recorded.get("parameters", []), present.get("parameters", [])) == []
    assert set(recorded.get("bases", [])) <= set(present.get("bases", []))
    for member, told in recorded["members"].items():
        assert member in present["members"], f"{name}.{member} is gone"
        now = present["members"][member]
        if isinstance(told, list):
            assert isinstance(now, list), f"{name}.{member} cannot be called any more"
            assert complaints(f"{name}.{member}", told, now) == []
        else:
            assert now == "attribute", f"{name}.{member} was an attribute"


def test_what_counts_as_a_break() -> None:
    kinds = ("x", "POSITIONAL_OR_KEYWORD"), ("step", "KEYWORD_ONLY"), ("options", "VAR_KEYWORD")
    x, step, options = ({"name": name, "kind": kind} for name, kind in kinds)
    step["default"] = "None"
    before = [x, step, options]
    assert complaints("f", before, before) == []
    assert complaints("f", before, [x, step, {"name": "scale", "kind": "KEYWORD_ONLY", "default": "None"}]) == []
    assert complaints("f", before, [x, step, {"name": "scale", "kind": "KEYWORD_ONLY"}]) == [
        "f: scale has come, and must be given"
    ]
    assert complaints("f", before, [x]) == ["f: step is gone"]
    assert complaints("f", before, [x, {**step, "default": "1"}])
    assert complaints("f", before, [x, {**step, "kind": "POSITIONAL_OR_KEYWORD"}])
    assert complaints("f", before, [{**x, "name": "y", "default": "0"}, x, step])


def value(x: Any, a: float = 0.0, *, b: float = 0.0) -> float:
    return float(x @ x) + 0.5 * float(x[0]) + a + b


def outputs(x: Any, a: float = 0.0, *, b: float = 0.0) -> Any:
    return 2.0 * x + a + b


def sample(option: str, function: str, folder: Path) -> Any:
    """Something that the option may be, other than its default where every function takes another."""
    slopes = function.endswith((".gradient", ".jacobian", ".differentiate"))
    return {
        "scheme": "central",
        "step": "auto" if function.endswith("check_gradient") else 1e-4,
        "accuracy": 1e-2 if slopes else None,
        "bounds": [(-5.0, 5.0), (-5.0, 5.0)],
        "scale": [1.0, 2.0],
        "args": (1.0,),
        "kwargs": {"b": 1.0},
        "executor": distfd.SerialExecutor(),
        "store": folder / f"{function}.sqlite",
        "timeout": 60.0,
        "retries": {"error": 1},
        "on_failure": "nan",
        "deterministic": True,
        "observers": [lambda event: None],
        "names": ["a", "b"],
        "version": "1",
        "warm": None,
        "recycle": {"evaluations": 1000},
        "setup_timeout": 60.0,
        "sparsity": STRUCTURE,
        "v": [1.0, 0.0],
        "directions": [[1.0, 0.0]],
    }[option]


CALLS: dict[str, tuple[Any, ...]] = {
    "distfd.differentiate": (value, START),
    "distfd.gradient": (value, START),
    "distfd.value_and_gradient": (value, START),
    "distfd.jacobian": (outputs, START),
    "distfd.hessian": (value, START),
    "distfd.hvp": (value, START, [1.0, 0.0]),
    "distfd.jvp": (outputs, START, [1.0, 0.0]),
    "distfd.directional": (value, START, [[1.0, 0.0]]),
    "distfd.noise_level": (value, START),
    "distfd.step_sweep": (value, START, [0]),
    "distfd.check_gradient": (value, lambda x: 2.0 * x + np.array([0.5, 0.0]), START),
    "distfd.minimize": (value, START),
    "distfd.least_squares": (outputs, START),
}
KIND_OF = {"sparsity": "jacobian", "v": "hvp", "directions": "directional"}
FEW = distfd.Limits(max_iterations=1)


def arguments(function: str, option: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    given: dict[str, Any] = {"executor": "serial"}
    positional = CALLS[function]
    if option in KIND_OF:
        given["kind"] = KIND_OF[option]
        positional = (outputs if option == "sparsity" else value, START)
    if function in ("distfd.minimize", "distfd.least_squares"):
        given["limits"] = FEW
    return positional, given


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
@pytest.mark.parametrize("function", CALLS)
def test_options_are_taken(function: str, tmp_path: Path) -> None:
    called = getattr(distfd, function.removeprefix("distfd."))
    for option in RECORD["accepted"][function]:
        positional, given = arguments(function, option)
        called(*positional, **given | {option: sample(option, function, tmp_path)})


@pytest.mark.parametrize("function", CALLS)
def test_what_is_no_option_is_refused(function: str) -> None:
    positional, given = arguments(function, "scheme")
    with pytest.raises((TypeError, distfd.InputError), match="nonsense"):
        getattr(distfd, function.removeprefix("distfd."))(*positional, **given, nonsense=None)


def test_every_function_that_takes_more_is_called_here() -> None:
    for name, recorded in SIGNATURES.items():
        if isinstance(recorded, list) and any(each["kind"] == "VAR_KEYWORD" for each in recorded):
            assert name in CALLS
    assert CALLS.keys() <= RECORD["accepted"].keys()


@pytest.mark.parametrize("option", KIND_OF)
def test_an_evaluator_takes_what_a_kind_needs(option: str, tmp_path: Path) -> None:
    assert {"distfd.Evaluator.differentiate", "distfd.Evaluator.begin"} <= RECORD["accepted"].keys()
    assert option in RECORD["accepted"]["distfd.Evaluator.differentiate"]
    more = {option: sample(option, "", tmp_path)}
    kind: Any = KIND_OF[option]
    with distfd.Evaluator(outputs if kind == "jacobian" else value, executor="serial") as evaluator:
        made = evaluator.differentiate(START, kind=kind, **more)
        begun = evaluator.begin(START, kind=kind, **more).result()
        assert evaluator.method(START, kind, **more) is not None
    found: list[Any] = [made.derivative, begun.derivative]
    both = [np.asarray(each.todense() if kind == "jacobian" else each) for each in found]
    np.testing.assert_array_equal(both[0], both[1])


def test_an_executor_takes_what_an_evaluation_needs() -> None:
    needs: dict[str, Any] = {
        "num_gpus": 1,
        "memory": 1e9,
        "custom": {"licence": 1.0},
        "nodes": 1,
        "labels": {"zone": "a"},
    }
    assert set(RECORD["accepted"]["distfd.RayExecutor"]) == set(needs)
    for name, amount in needs.items():
        assert distfd.RayExecutor(**{name: amount}) is not None
    with pytest.raises((TypeError, distfd.InputError), match="nonsense"):
        distfd.RayExecutor(nonsense=1)  # type: ignore[call-arg]  # the point of it


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("DistfdError", 1),
        ("InputError", 2),
        ("ConfigError", 2),
        ("MissingSimulatorError", 2),
        ("EvaluationError", 3),
        ("ClusterError", 4),
        ("ClusterLostError", 4),
        ("StoreError", 5),
        ("TimeUpError", 130),
    ],
)
def test_errors_keep_their_exit_codes(name: str, code: int) -> None:
    from distfd import errors

    assert getattr(errors, name).exit_code == code


def test_statuses_keep_their_numbers() -> None:
    """The store and the files of workers hold them."""
    numbers = {"NOT_RUN": 0, "OK": 1, "ERROR": 2, "CRASH": 3, "TIMEOUT": 4, "LOST": 5, "CANCELLED": 6}
    assert {status.name: int(status) for status in distfd.Status if status.name in numbers} == numbers
