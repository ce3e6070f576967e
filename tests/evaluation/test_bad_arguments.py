"""Arguments of the wrong kind are an InputError that names them, before J is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.executors.ray.options import ClusterOptions

if TYPE_CHECKING:
    from collections.abc import Callable

AT = [1.0, 2.0]


def untouched(x: Any) -> Any:
    raise AssertionError("it was evaluated")


def of(what: str, *args: Any, **options: Any) -> Callable[[], Any]:
    """A call with these, in this process unless they say otherwise."""

    def call() -> Any:
        function: Any = getattr(distfd, what)
        return function(untouched, AT, *args, **{"executor": "serial", **options})

    return call


CASES: list[tuple[str, Callable[[], Any]]] = [
    ("executor", of("gradient", executor=3)),
    ("executor", of("gradient", executor="sreial")),
    ("store", of("gradient", store=3)),
    ("store: must be the path of a file", of("gradient", store="/")),
    ("store: must be the path of a file", of("gradient", store="a\0b")),
    ("journal: must be the path of a file", of("minimize", journal="")),
    ("journal: must be the path of a file", of("least_squares", journal="a\0b")),
    (r"v: must be 2 finite numbers \(number 1 was nan\)", of("jvp", [1.0, np.nan])),
    (r"sparsity: must be a mask .* \(was True\)", of("jacobian", sparsity=True)),
    (r"sparsity: must be a mask .* \(was 3\)", of("hessian", sparsity=3)),
    ("observers", of("gradient", observers=3)),
    ("observers", of("gradient", observers=[3])),
    ("names", of("gradient", names="ab")),
    ("names", of("gradient", names=["a"])),
    ("names", of("gradient", names={"a", "b"})),
    ("names", of("gradient", names={"a": 1.0, "b": 2.0})),
    ("names", of("gradient", names=[1, 2])),
    ("names", of("gradient", names=True)),
    ("step", of("gradient", step=np.ma.array([1e-6, 1e-6], mask=[False, True]))),
    ("step", of("gradient", step=10**400)),
    ("bounds", of("gradient", bounds=[("0", "5"), ("0", "5")])),
    ("bounds", of("gradient", bounds=[(0, 10**400), (0, 5)])),
    ("bounds", of("gradient", bounds=(0, 5))),
    ("bounds", of("least_squares", bounds=zip([0, 0], [5, 5], strict=True))),
    ("bounds", of("least_squares", bounds=("0", "5"))),
    ("bounds", of("least_squares", bounds=[(0, 5), (0, 5)])),
    ("f0", of("jacobian", f0=np.ma.array([1.0, 2.0], mask=[False, True]))),
    ("coordinates", of("step_sweep", coordinates="ab")),
    ("coordinates", of("step_sweep", coordinates=3)),
    ("coordinates", of("step_sweep", coordinates=[0.5])),
    ("loss", of("least_squares", loss="hubber")),
    ("loss", of("least_squares", loss=[1])),
    ("f_scale", of("least_squares", f_scale=-1)),
    ("x_scale", of("least_squares", x_scale="1")),
    ("x_scale", of("least_squares", x_scale=np.ma.array([1.0, 2.0], mask=[False, True]))),
    ("sigma", of("least_squares", sigma=["1", "2"])),
    ("sigma", of("least_squares", sigma=np.ma.array([1.0, 2.0], mask=[False, True]))),
    ("sigma", of("least_squares", sigma=10**400)),
    ("measured", of("least_squares", measured=["1", "2"])),
    ("measured", of("least_squares", measured=np.ma.array([1.0, 2.0], mask=[False, True]))),
    ("args: has a generator, which the first evaluation of J would use up", of("gradient", args=(k for k in "ab"))),
    ("kwargs: has a zip", of("gradient", kwargs={"pairs": zip("a", "b", strict=True)})),
    ("constraints", lambda: distfd.Outputs("a", 1)),
    ("tolerance", of("check_gradient", [2.0, 4.0], tolerance=-1)),
    ("sigma_x", of("sensitivity", "0.1")),
    ("sigma_x", of("sensitivity", None)),
    ("sigma_x", of("sensitivity", [0.1])),
    ("timeout", of("gradient", timeout="5min")),
    ("timeout", of("gradient", timeout=True)),
    ("retries", of("gradient", retries=1.5)),
    ("recycle", of("gradient", recycle={"evaluations": 1.5})),
    ("warm", of("gradient", warm="x")),
    ("step", of("gradient", step=[1.0, 2.0, 3.0])),
    ("bounds", of("gradient", bounds="x")),
    ("sparsity", of("jacobian", sparsity=np.ones((3, 3)))),
    ("directions", of("directional", [[1.0, 2.0, 3.0]])),
    ("limits", of("minimize", limits=3)),
    ("callback", of("minimize", callback=3)),
    ("options", of("minimize", options=3)),
    ("options", of("minimize", options=[1])),
    ("options", of("minimize", options={3: 4})),
    ("constraints", of("minimize", method="SLSQP", constraints=3)),
    ("constraints", of("minimize", method="SLSQP", constraints={"type": "foo", "fun": abs})),
    ("constraints", of("minimize", method="SLSQP", constraints=[{"type": "eq"}])),
    ("speculative", of("minimize", speculative="maybe")),
    ("limits", of("least_squares", limits={"max_iterations": 3})),
    ("callback", of("least_squares", callback="print")),
    ("options", of("least_squares", options=3)),
    ("bounds", of("least_squares", bounds=([0, 0], [1, "a"]))),
    ("bounds", of("least_squares", bounds=([0, 0, 0], [1, 1, 1]))),
    ("max_iterations", lambda: distfd.Limits(max_iterations="3")),  # type: ignore[arg-type]  # the point of it
    ("target", lambda: distfd.Limits(target="low")),  # type: ignore[arg-type]  # the point of it
    ("max_iterations", lambda: distfd.Limits(max_iterations=2.5)),  # type: ignore[arg-type]  # the point of it
    ("max_wall_time.*that is 300", lambda: distfd.Limits(max_wall_time="5min")),  # type: ignore[arg-type]  # as above
    ("num_threads", lambda: distfd.SerialExecutor(num_threads=0)),
    ("custom", lambda: distfd.RayExecutor(custom=3)),  # type: ignore[arg-type]  # the point of it
    ("labels", lambda: distfd.RayExecutor(labels=3)),  # type: ignore[arg-type]  # the point of it
    ("resources", lambda: distfd.RayExecutor(resources=3)),  # type: ignore[arg-type]  # the point of it
    ("max_slots", lambda: distfd.RayExecutor(max_slots=2.5)),  # type: ignore[arg-type]  # the point of it
    ("num_cpus", lambda: distfd.RayExecutor(num_cpus="2")),  # type: ignore[arg-type]  # the point of it
    ("max_slots", lambda: ClusterOptions(max_slots=True)),
    ("address", lambda: distfd.RayExecutor(address=3)),  # type: ignore[arg-type]  # the point of it
    ("runtime_env", lambda: distfd.RayExecutor(runtime_env=3)),  # type: ignore[arg-type]  # the point of it
    ("memory", lambda: distfd.RayExecutor(memory="4GB")),  # type: ignore[arg-type]  # the point of it
    ("nodes", lambda: distfd.RayExecutor(nodes=1.5)),  # type: ignore[arg-type]  # the point of it
    ("stop_before", lambda: distfd.RayExecutor(stop_before="10min")),  # type: ignore[arg-type]  # the point of it
    ("name", lambda: distfd.Stencil([0], [1])),  # type: ignore[arg-type]  # the point of it
]


@pytest.mark.parametrize(("name", "call"), CASES)
def test_what_is_of_the_wrong_kind_is_named(name: str, call: Callable[[], Any]) -> None:
    with pytest.raises(distfd.InputError, match=name):
        call()


def test_numbers_of_numpy_are_numbers() -> None:
    whole: Any = np.int64(3)
    real: Any = np.float32(0.5)
    distfd.Limits(max_iterations=whole, target=real, max_wall_time=real)
    ClusterOptions(num_cpus=whole, max_slots=whole)
    distfd.Evaluator(abs, executor="ray", retries=whole, timeout=real).close()


def test_types_of_constraints_may_be_written_large() -> None:
    found = distfd.minimize(
        lambda x: float(x @ x),
        AT,
        method="SLSQP",
        constraints={"type": "EQ", "fun": lambda x: x[0] + x[1] - 1.0},
        executor="serial",
    )
    np.testing.assert_allclose(found.x, 0.5, atol=1e-6)
    assert found.violation < 1e-8
