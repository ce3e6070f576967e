"""SciPy's own tests of curve_fit, with distfd's in its place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import scipy.optimize.tests.test_minpack as theirs

import distfd

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.filterwarnings("ignore:J did not change at all:distfd.DerivativeWarning")

# Becomes a test of this module; the fixture below puts ours in the place of what it tests.
TestCurveFit = theirs.TestCurveFit


@pytest.fixture(autouse=True, scope="module", name="_ours")
def in_scipys_place() -> Iterator[None]:
    calls = 0

    def ours(*args: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        return distfd.curve_fit(*args, executor="serial", **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "curve_fit", ours)
        # One of the tests finds it there; ours itself calls SciPy's, which must stay where it is.
        patch.setattr(theirs, "optimize", SimpleNamespace(curve_fit=ours))
        yield
    assert calls, "SciPy's tests no longer call what was put in its place"
