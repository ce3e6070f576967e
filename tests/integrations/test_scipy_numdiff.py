"""SciPy's own tests of approx_derivative, with distfd's in its place: in the caller's process, serial, and on Ray."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

import pytest
import scipy.optimize._numdiff as scipys
import scipy.optimize.tests.test__numdiff as theirs

import distfd

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTS_IN_ITS_PROCESS = "test_workers_evaluations_and_nfev"

# All of SciPy's tests become tests of this module; the fixture below puts ours in the place of what they test.
globals().update({name: thing for name, thing in vars(theirs).items() if name.lower().startswith("test")})


@pytest.fixture(
    autouse=True,
    params=["caller", "serial", pytest.param("ray", marks=pytest.mark.nightly)],
    scope="module",
    name="_ours",
)
def in_scipys_place(request: pytest.FixtureRequest) -> Iterator[None]:
    executor: Any = None
    if request.param != "caller":
        executor = distfd.SerialExecutor() if request.param == "serial" else distfd.RayExecutor(max_slots=2)
    calls = 0

    def ours(*args: Any, workers: Any = None, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        keywords |= {"workers": workers} if executor is None else {"executor": executor}
        return distfd.approx_derivative(*args, **keywords)

    # Their pools fork once something here has set that as the way to start, and a child of a process that has used Ray
    # may never end: it has Ray's handler of SIGTERM.
    started = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("forkserver", force=True)
    with pytest.MonkeyPatch.context() as patch:
        # Their helpers and classes find it by name, in their module and in SciPy's.
        patch.setattr(theirs, "approx_derivative", ours)
        patch.setattr(scipys, "approx_derivative", ours)
        yield
    multiprocessing.set_start_method(started, force=True)
    if executor is not None:
        executor.close()
    assert calls, "SciPy's tests no longer call what was put in its place"


@pytest.fixture(autouse=True)
def _skip_what_ray_cannot_count(request: pytest.FixtureRequest) -> None:
    if COUNTS_IN_ITS_PROCESS in request.node.name and "ray" in request.node.name:
        pytest.skip("it counts the calls that its own process makes")
