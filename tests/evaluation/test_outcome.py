"""How calls end: warnings reach the caller's own line, the result and the file."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.differentiation.method import Answer
from distfd.evaluation import method_registry as methods
from distfd.run_directory.result_fields import derivative_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.differentiation.method import Method, Request, Wave

TEXT = "coordinate 1 ('b'): J(x + h) is J(x) exactly"


class Doubtful:
    """A gradient that is not to be trusted."""

    def __init__(self, trusted: Method[Answer]) -> None:
        self._trusted = trusted

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        step = self._trusted.advance(waves)
        return replace(step, warnings=(TEXT, "another"), noise=1e-7) if isinstance(step, Answer) else step


@pytest.fixture(autouse=True)
def _doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    trusted = methods.KINDS["gradient"]
    monkeypatch.setitem(methods.KINDS, "gradient", lambda setting: Doubtful(trusted(setting)))


@pytest.mark.parametrize("depth", ["function", "evaluator"])
def test_warnings_point_to_the_line_that_called(depth: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if depth == "function":
            distfd.gradient(np.sum, [1.0, 2.0], executor="serial")
        else:
            distfd.Evaluator(np.sum, executor="serial").value_and_gradient([1.0, 2.0])
    assert [(w.category, str(w.message)) for w in caught] == [
        (distfd.DerivativeWarning, TEXT),
        (distfd.DerivativeWarning, "another"),
    ]
    assert {w.filename for w in caught} == {__file__}


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
def test_results_and_files_hold_the_warnings() -> None:
    result = distfd.differentiate(np.sum, [1.0, 2.0], executor="serial")
    assert (result.warnings, result.noise) == ((TEXT, "another"), 1e-7)
    fields: dict[str, Any] = derivative_fields(result, np.ones(2), ["a", "b"])
    assert fields["warnings"] == [TEXT, "another"]


def test_a_warning_may_be_made_an_error() -> None:
    with pytest.raises(distfd.DerivativeWarning, match="exactly"):
        distfd.gradient(np.sum, [1.0, 2.0], executor="serial")
