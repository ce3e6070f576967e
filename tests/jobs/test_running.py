"""While evaluations take long, what is running is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

import distfd
from distfd import events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.workers.messages import Report


class Slow(distfd.SerialExecutor):
    """Has no news for a while, as a slot whose evaluation takes long."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def wait(self, seconds: float) -> Sequence[Report]:
        self.looks += 1
        if self.looks == 2:  # the baseline is done, and the next chunk is with the slot
            time.sleep(0.6)
            return []
        return super().wait(seconds)


def test_what_runs_is_told_by_name() -> None:
    seen: list[events.Event] = []
    gradient = distfd.gradient(lambda x: float(x @ x), [1.0], executor=Slow(), names=["mass"], observers=[seen.append])
    np.testing.assert_allclose(gradient, [2.0], rtol=1e-6)
    (running,) = [event for event in seen if isinstance(event, events.Running)]
    assert running.busy == 1
    assert running.longest.startswith("coordinate 0 ('mass')")
    assert running.seconds >= 0.5
    assert isinstance(seen[-1], events.Stopped), "the last word: nothing runs any more"


def test_an_iterate_has_the_norm_of_its_gradient() -> None:
    seen: list[events.Event] = []
    found = distfd.minimize(lambda x: float(x @ x), [3.0, 4.0], executor="serial", observers=[seen.append])
    norms = [event.gradient_norm for event in seen if isinstance(event, events.Iterated)]
    assert len(norms) == found.nit
    assert norms[-1] is not None
    assert norms[-1] < 1e-5
