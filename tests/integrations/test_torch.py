"""distfd.torch against PyTorch. CI does not install it (some GB of CUDA); this runs wherever it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import distfd

torch = pytest.importorskip("torch", reason="NOT tested: torch is missing; CI leaves it out, as it is several GB")
pytestmark = pytest.mark.slow  # to import it takes seconds


def bowl(x: Any) -> float:
    return float(np.sum(x**2) + x[0] * x[1])


def pair(x: Any) -> Any:
    return np.array([x[0] * x[1], x[1] ** 2])


@pytest.fixture
def options() -> dict[str, Any]:
    return {"scheme": "central", "executor": "serial"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_backward_goes_through_the_black_box(options: dict[str, Any], dtype: Any) -> None:
    from distfd.torch import differentiable

    with distfd.Evaluator(bowl, **options) as ev:
        theta = torch.tensor([0.5, 1.5], dtype=dtype, requires_grad=True)
        loss = differentiable(ev)(2 * theta) ** 2
        loss.backward()
    # J(1, 3) = 13, dJ = (5, 7); the chain rule has 2 J dJ 2.
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(169.0)
    assert theta.grad.tolist() == pytest.approx([260.0, 364.0])


def test_a_vector(options: dict[str, Any]) -> None:
    from distfd.torch import differentiable

    with distfd.Evaluator(pair, **options) as ev:
        x = torch.tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True)
        found = torch.autograd.functional.jacobian(differentiable(ev, kind="jacobian"), x)
    assert found.numpy() == pytest.approx(np.array([[3.0, 2.0], [0.0, 6.0]]))


def test_without_a_gradient_j_alone_is_evaluated() -> None:
    from distfd.torch import differentiable

    seen: list[int] = []

    def counted(x: Any) -> float:
        seen.append(1)
        return bowl(x)

    with distfd.Evaluator(counted, executor="serial") as ev:
        differentiable(ev)(torch.tensor([1.0, 3.0], dtype=torch.float64))
    assert len(seen) == 1


def test_whole_numbers_cut_no_value() -> None:
    from distfd.torch import differentiable

    with distfd.Evaluator(lambda x: float(0.25 * np.sum(x)), executor="serial") as ev:
        found = differentiable(ev)(torch.tensor([1, 2, 3]))
    assert found.item() == 1.5
    assert found.dtype == torch.float32
