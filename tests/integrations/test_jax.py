"""distfd.jax against JAX."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.errors import DerivativeWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import RequireSimulator

pytestmark = pytest.mark.slow  # to import it takes seconds


def bowl(x: Any) -> float:
    return float(np.sum(x**2) + x[0] * x[1])


def pair(x: Any) -> Any:
    return np.array([x[0] * x[1], x[1] ** 2])


@pytest.fixture
def jax(require_simulator: RequireSimulator) -> Iterator[Any]:
    require_simulator("jax")
    import jax

    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", False)


def test_grad_under_jit_goes_through_the_black_box(jax: Any) -> None:
    from distfd.jax import differentiable

    with distfd.Evaluator(bowl, scheme="central", executor="serial") as ev:
        J = differentiable(ev)
        value, slope = jax.jit(jax.value_and_grad(lambda theta: J(2 * theta) ** 2))(jax.numpy.array([0.5, 1.5]))
    # J(1, 3) = 13, dJ = (5, 7); the chain rule has 2 J dJ 2.
    assert value == pytest.approx(169.0)
    assert np.asarray(slope) == pytest.approx(np.array([260.0, 364.0]))


def test_a_vector(jax: Any) -> None:
    from distfd.jax import differentiable

    with distfd.Evaluator(pair, scheme="central", executor="serial") as ev:
        found = jax.jacrev(differentiable(ev, outputs=2))(jax.numpy.array([2.0, 3.0]))
    assert np.asarray(found) == pytest.approx(np.array([[3.0, 2.0], [0.0, 6.0]]))


def test_several_x_and_no_derivative(jax: Any) -> None:
    from distfd.jax import differentiable

    seen: list[int] = []

    def counted(x: Any) -> float:
        seen.append(1)
        return bowl(x)

    with distfd.Evaluator(counted, executor="serial") as ev:
        found = jax.vmap(differentiable(ev))(jax.numpy.array([[1.0, 3.0], [2.0, 0.0]]))
    assert np.asarray(found).tolist() == [13.0, 4.0]
    assert len(seen) == 2


def test_a_failure_says_why(jax: Any) -> None:
    from distfd.jax import differentiable

    def broken(x: Any) -> float:
        raise ValueError("negative width")

    with (
        distfd.Evaluator(broken, executor="serial") as ev,
        pytest.raises(Exception, match="negative width"),
    ):
        jax.block_until_ready(differentiable(ev)(jax.numpy.array([1.0])))


def test_ray_starts_without_a_warning_of_forks(require_simulator: RequireSimulator) -> None:
    require_simulator("jax")
    program = (
        "import jax, distfd\n"
        "jax.numpy.zeros(2).block_until_ready()  # JAX looks at forks from here on\n"
        "with distfd.Evaluator(lambda x: float(x[0] ** 2), executor=distfd.RayExecutor(num_cpus=1)) as ev:\n"
        "    assert abs(ev.gradient([3.0])[0] - 6) < 1e-6\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "fork" not in ran.stderr


@pytest.mark.parametrize("x64", [True, False])
def test_whole_numbers_cut_no_value(jax: Any, x64: bool) -> None:
    from distfd.jax import differentiable

    jax.config.update("jax_enable_x64", x64)
    with distfd.Evaluator(lambda x: float(0.25 * np.sum(x)), executor="serial") as ev:
        found = differentiable(ev)(jax.numpy.array([1, 2, 3]))
    assert float(found) == 1.5
    assert found.dtype == (np.float64 if x64 else np.float32)
    with distfd.Evaluator(lambda x: 0.25 * x, executor="serial") as ev:
        assert differentiable(ev, outputs=2)(jax.numpy.array([1, 2])).tolist() == [0.25, 0.5]


def test_j_in_jaxs_default_single_precision(jax: Any) -> None:
    """Its values say that they are float32, so that a difference over 1.5e-8 of x is never taken for a derivative."""
    jax.config.update("jax_enable_x64", False)
    x = np.array([0.3, 1.7, 25.0])
    with pytest.warns(DerivativeWarning, match="float32"):
        found = distfd.differentiate(lambda x: jax.numpy.sum(jax.numpy.sin(x)) * 3, x, executor="serial")
    np.testing.assert_allclose(found.derivative, 3 * np.cos(x), rtol=3e-3, atol=1e-3)
    assert found.n_evaluations == 7


def test_x_may_be_any_pytree(jax: Any) -> None:
    @jax.tree_util.register_pytree_node_class
    class Net:
        def __init__(self, w: Any, b: Any, tag: str) -> None:
            self.w, self.b, self.tag = w, b, tag

        def tree_flatten(self) -> Any:
            return (self.w, self.b), self.tag

        @classmethod
        def tree_unflatten(cls, tag: str, parts: Any) -> Any:
            return cls(parts[0], parts[1], tag)

    def fun(p: Any) -> float:
        return float(2 * np.sum(p["net"].w ** 2) + p["net"].b * p["k"] + len(p["net"].tag))

    x = {"net": Net(jax.numpy.ones(2), 3.0, "abc"), "k": 2.0}
    for executor in ("serial", "ray"):  # in a worker the class is registered when it comes
        found: Any = distfd.differentiate(fun, x, executor=executor, check=False)
        assert found.value == pytest.approx(13.0)
        assert found.derivative["net"].w == pytest.approx(np.array([4.0, 4.0]), rel=1e-6)
        assert (found.derivative["net"].b, found.derivative["k"]) == pytest.approx((2.0, 3.0), rel=1e-6)
        assert found.derivative["net"].tag == "abc"


def test_forward_mode_and_reverse_mode_are_of_the_same_derivative(jax: Any) -> None:
    from distfd.jax import differentiable

    x, v = jax.numpy.array([2.0, 3.0]), jax.numpy.array([1.0, -1.0])
    with distfd.Evaluator(pair, scheme="central", executor="serial") as ev:
        J = differentiable(ev, outputs=2)
        value, slope = jax.jit(lambda x, v: jax.jvp(J, (x,), (v,)))(x, v)
        assert np.asarray(value) == pytest.approx(np.array([6.0, 9.0]))
        assert np.asarray(slope) == pytest.approx(np.array([1.0, -6.0]))
        assert np.asarray(jax.jacfwd(J)(x)) == pytest.approx(np.asarray(jax.jacrev(J)(x)), rel=1e-12)
        back = jax.vjp(J, x)[1](jax.numpy.array([1.0, 2.0]))[0]
        assert np.asarray(back) == pytest.approx(np.array([3.0, 14.0]))
        several = jax.vmap(jax.jacfwd(J))(jax.numpy.stack([x, 2 * x]))
        assert np.asarray(several[1]) == pytest.approx(np.array([[6.0, 4.0], [0.0, 12.0]]))


def test_a_pytree_goes_to_the_black_box_and_gradients_come_back_in_it(jax: Any) -> None:
    from distfd.jax import differentiable

    def fun(p: Any) -> float:
        return float(p["k"] ** 2 + np.sum(p["w"] ** 2) + p["k"] * p["w"][0, 1])

    p = {"w": jax.numpy.array([[1.0, 2.0]]), "k": jax.numpy.array(3.0)}
    with distfd.Evaluator(fun, scheme="central", executor="serial") as ev:
        slope = jax.jit(jax.grad(differentiable(ev)))(p)
        assert float(slope["k"]) == pytest.approx(8.0)
        assert np.asarray(slope["w"]) == pytest.approx(np.array([[2.0, 7.0]]))
        assert float(jax.jvp(differentiable(ev), (p,), (p,))[1]) == pytest.approx(2 * 20.0)


def test_numbers_of_pythons_lists_and_whole_numbers_in_a_pytree(jax: Any) -> None:
    from distfd.jax import differentiable

    def fun(p: Any) -> float:
        return float(p["a"] ** 2 * p["n"])

    with distfd.Evaluator(fun, scheme="central", executor="serial") as ev:
        h = differentiable(ev)
        slope = jax.grad(h)({"a": 2.0, "n": 3.0})
        assert [float(slope["a"]), float(slope["n"])] == pytest.approx([12.0, 4.0])
        assert float(jax.grad(lambda a: h({"a": a, "n": jax.numpy.array(3)}))(jax.numpy.array(2.0))) == pytest.approx(
            12.0
        )
    with distfd.Evaluator(lambda x: float(x[0] ** 2 * x[1]), scheme="central", executor="serial") as ev:
        pair = jax.grad(differentiable(ev))((jax.numpy.array(2.0), jax.numpy.array(3.0)))
        assert [float(each) for each in pair] == pytest.approx([12.0, 4.0])


def test_x_may_be_a_lone_number(jax: Any) -> None:
    from distfd.jax import differentiable

    with distfd.Evaluator(lambda x: float(x[0] ** 3), scheme="central", executor="serial") as ev:
        assert float(jax.grad(differentiable(ev))(2.0)) == pytest.approx(12.0)


def test_a_second_derivative_is_refused_with_what_there_is_instead(jax: Any) -> None:
    from distfd.jax import differentiable

    with distfd.Evaluator(bowl, executor="serial") as ev, pytest.raises(NotImplementedError, match=r"distfd\.hessian"):
        jax.hessian(differentiable(ev))(jax.numpy.array([1.0, 2.0]))


def test_a_complex_x_loses_no_imaginary_part_in_silence(jax: Any) -> None:
    from distfd.jax import differentiable

    with distfd.Evaluator(bowl, executor="serial") as ev, pytest.raises(distfd.InputError, match="x: is complex"):
        differentiable(ev)(jax.numpy.array([1.0 + 1.0j, 2.0]))


def test_misuse_is_answered_when_the_function_is_made(jax: Any) -> None:
    from distfd.jax import differentiable

    given: Any = bowl
    with pytest.raises(
        distfd.InputError, match=r"differentiable: needs a distfd\.Evaluator .*distfd\.Evaluator\(fun\)"
    ):
        differentiable(given)
    with distfd.Evaluator(pair, executor="serial") as ev:
        for outputs in (0, 2.5, "2"):
            wrong: Any = outputs
            with pytest.raises(distfd.InputError, match="outputs: must be a whole number"):
                differentiable(ev, outputs=wrong)


@pytest.mark.parametrize("outputs", [None, 3])
def test_another_number_of_outputs_than_j_has_is_told(jax: Any, outputs: int | None) -> None:
    from distfd.jax import differentiable

    with distfd.Evaluator(pair, executor="serial") as ev, pytest.raises(Exception, match="give outputs=2"):
        jax.block_until_ready(differentiable(ev, outputs=outputs)(jax.numpy.array([1.0, 2.0])))
