"""A worker that stayed gets the next J and its first chunk in one call, and what that must not change."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import pytest
import ray

import distfd
from distfd.core.points import dense_points
from distfd.core.records import NOTHING
from distfd.executors.ray.executor import _warm
from distfd.executors.ray.failures import IDLE
from distfd.executors.ray.outstanding_calls import OutstandingCalls
from distfd.executors.ray.slots import Slots
from distfd.executors.ray.worker import Stale, packed_reply, unpacked_chunk
from distfd.workers.messages import ChunkDone, EvaluationChunk, SlotLost, SlotUp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

X = [1.0, 2.0, 3.0]


@pytest.fixture
def one() -> Iterator[distfd.RayExecutor]:
    """An executor of one slot, whose worker has had a J before."""
    with distfd.RayExecutor(max_slots=1) as executor:
        distfd.gradient(lambda x: float(x.sum()), X, executor=executor, check=False)
        assert len(_warm) == 1
        yield executor


def calls_made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """Of each call of a worker from now on: whether it brings a J, and whether it has a chunk with it."""
    made, add = [], OutstandingCalls.add

    def noted(self: OutstandingCalls, reference: Any, call: Any) -> None:
        made.append((call.by is not None, call.chunk is not None and not call.adopts))
        add(self, reference, call)

    monkeypatch.setattr(OutstandingCalls, "add", noted)
    return made


def test_j_comes_with_the_first_chunk(
    private_ray: None, one: distfd.RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = calls_made(monkeypatch)
    np.testing.assert_allclose(
        distfd.gradient(lambda x: float(2 * x.sum()), X, executor=one, check=False), 2, rtol=1e-6
    )
    assert made[0] == (True, True)
    assert set(made[1:]) <= {(False, True)}


@pytest.mark.parametrize("limit", ["timeout", "setup_timeout"])
def test_under_a_time_limit_j_is_ready_before(
    private_ray: None, one: distfd.RayExecutor, monkeypatch: pytest.MonkeyPatch, limit: Any
) -> None:
    made = calls_made(monkeypatch)
    options: dict[str, Any] = {limit: 60.0}
    found = distfd.gradient(lambda x: float(2 * x.sum()), X, executor=one, check=False, **options)
    np.testing.assert_allclose(found, 2, rtol=1e-6)
    assert made[0] == (True, False)
    assert set(made[1:]) == {(False, True)}


def test_a_point_that_kills_the_process_is_charged_once(
    private_ray: None, one: distfd.RayExecutor, tmp_path: Path
) -> None:
    log = tmp_path / "log"

    def dies(x: Any) -> float:
        with log.open("a") as file:
            file.write(f"{x[0]!r}\n")
        os._exit(3)

    with pytest.raises(distfd.EvaluationError, match="the worker process died"):
        distfd.gradient(dies, X, executor=one, check=False, retries=0)
    assert len(log.read_text().splitlines()) == 1


def test_a_member_that_was_changed_between_two_calls(
    private_ray: None, one: distfd.RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings_of_first_chunk.py").write_text("K = 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    import settings_of_first_chunk as settings  # type: ignore[import-not-found]  # written above

    def weighted(x: Any) -> float:
        return float(settings.K * x.sum())

    for k in (1.0, 5.0, 7.0):
        settings.K = k
        np.testing.assert_allclose(distfd.gradient(weighted, X, executor=one, check=False), k, rtol=1e-6)


def chunk(number: int) -> EvaluationChunk:
    return EvaluationChunk(number, np.arange(1), dense_points([np.arange(3.0)]), False, None, 1.0)


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> Slots:
    """One slot that is up; whatever was asked of its worker is answered."""
    worker, nodes = Mock(), Mock(hung=Mock(return_value=()))
    make = Mock(adopt=Mock(side_effect=("with a chunk", "alone")))
    worker.run.remote.side_effect = lambda *_: f"run {worker.run.remote.call_count}"
    found = Slots(make, nodes)
    found._actors[0], found._up[0] = worker, SlotUp(0, "host", 1, "")
    monkeypatch.setattr(ray, "wait", lambda references, **_: (references, []))
    return found


def test_a_chunk_of_the_j_before_goes_to_no_other(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wave of one J is given up, and another J comes, before the worker has answered to the first."""
    slots.renew(Mock(), anew=True, later=True)
    slots.submit(0, chunk(1))
    slots.submit(0, chunk(2))
    slots.renew(Mock(), anew=True, later=True)
    slots.submit(0, chunk(3))
    evaluated = packed_reply(NOTHING, worn=False)
    answers = {"with a chunk": evaluated, "alone": ("host", 1, "node", ""), "run 1": evaluated}
    monkeypatch.setattr(ray, "get", answers.__getitem__)
    given_back, up = slots.wait(0.0)
    assert isinstance(given_back, ChunkDone)
    assert (given_back.chunk, len(given_back.batch)) == (2, 0)
    assert up == SlotUp(0, "host", 1, "")
    (sent,) = slots._actors[0].run.remote.call_args.args
    assert unpacked_chunk(sent, None).id == 3


def test_a_worker_that_is_not_fit_for_j_hands_the_chunk_back(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    slots.renew(Mock(), anew=True, later=True)
    slots.submit(0, chunk(1))
    monkeypatch.setattr(ray, "get", lambda _: Stale())
    assert list(slots.wait(0.0)) == [SlotLost(0, IDLE)]
