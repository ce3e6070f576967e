"""Clusters that grow and shrink while a wave runs, and that several drivers share."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import distfd
from distfd import events
from distfd.executors.ray import elastic_slots as ray_census
from distfd.executors.ray.elastic_slots import fair_slots, slots_to_leave
from distfd.executors.ray.options import ClusterOptions
from distfd.executors.ray.resources import Resources, count_slots
from distfd.executors.ray.slot_registry import LocalShare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
slow = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own, of a cluster within this process
]


@given(
    wants=st.dictionaries(st.text("abcdef", min_size=1), st.floats(0, 1), min_size=1, max_size=6),
    capacity=st.integers(1, 300),
)
def test_shares_are_fair_and_nothing_is_left_over(wants: dict[str, float], capacity: int) -> None:
    slots = {name: fair_slots(name, wants, capacity) for name in wants}
    assert min(slots.values()) >= 1
    wanted = sum(wants.values())
    whole = sum(slots.values())
    at_least_one = len(wants)  # whose share is less than a slot waits for one
    assert whole <= min(1.0, wanted) * capacity + at_least_one + 1e-6
    assert whole >= min(1.0, wanted) * capacity - 1 - 1e-6
    for name, slots_of in slots.items():
        assert slots_of <= max(1, wants[name] * capacity + 1)
        for other, wanted_by_it in wants.items():
            # Nobody has more than another, unless that one wants no more.
            assert slots[other] >= min(slots_of, wanted_by_it * capacity) - 2


@pytest.mark.parametrize(
    ("wants", "capacity", "slots"),
    [
        ({"a": 1.0}, 8, [8]),
        ({"a": 1.0, "b": 1.0}, 8, [4, 4]),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, 8, [2, 3, 3]),
        ({"a": 1.0, "b": 0.25}, 8, [6, 2]),
        ({"a": 0.25, "b": 1.0, "c": 1.0}, 16, [4, 6, 6]),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, 1, [1, 1, 1]),
    ],
)
def test_shares(wants: dict[str, float], capacity: int, slots: list[int]) -> None:
    assert [fair_slots(name, wants, capacity) for name in sorted(wants)] == slots


def test_those_at_work_are_the_last_to_go() -> None:
    assert slots_to_leave([0, 1, 2, 3, 4], 3, up={0, 1, 2, 3}, busy={1, 2}) == [4, 3, 0]
    assert slots_to_leave([0, 1], -1, up=(), busy=()) == []


def test_labels_choose_nodes() -> None:
    nodes: list[dict[str, Any]] = [
        {"Resources": {"CPU": 4.0}, "Labels": {"kind": "big", "zone": "x"}},
        {"Resources": {"CPU": 2.0}, "Labels": {"kind": "small"}},
        {"Resources": {"CPU": 1.0}, "Labels": {}},
    ]
    for labels, slots in [
        ({"kind": "big"}, 4),
        ({"kind": "!big"}, 3),
        ({"kind": "in(big, small)"}, 6),
        ({"kind": "!in(big, small)"}, 1),
        ({"kind": "in(big, small)", "zone": "x"}, 4),
        ({}, 7),
    ]:
        assert count_slots(Resources(labels=labels), nodes, None) == slots, labels
    with pytest.raises(distfd.ClusterError, match="none of the cluster's 3 nodes has kind: huge"):
        count_slots(Resources(labels={"kind": "huge"}), nodes, None)


@pytest.fixture
def cluster(_ray_ends: None) -> Iterator[Any]:
    """A head without CPUs and a node with two, which has a label."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.add_node(num_cpus=2, labels={"kind": "first"})
    made.connect()  # type: ignore[no-untyped-call]  # Ray lacks types
    yield made
    ray.shutdown()
    made.shutdown()  # type: ignore[no-untyped-call]  # Ray lacks types


def sleeper(x: NDArray[np.float64]) -> float:
    time.sleep(0.3)
    return float(x @ x)


class Slots:
    """Says on which slots evaluations have ended, and lets the test wait for a number of them."""

    def __init__(self) -> None:
        self.latest: list[int] = []
        self.changed = threading.Condition()

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.BatchFinished):
            with self.changed:
                self.latest.append(event.batch.slot)
                self.changed.notify_all()

    def await_count(self, count: int, last: int = 8) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(set(self.latest[-last:])) == count, timeout=90), self.latest


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own, of a cluster within this process
def test_nodes_that_come_and_go_are_followed(cluster: Any) -> None:
    x = np.arange(1.0, 201.0)
    slots = Slots()
    ended = threading.Event()
    with distfd.Evaluator(sleeper, observers=[slots], retries=0, deterministic=False) as ev:
        failed: list[BaseException] = []

        def differentiate() -> None:
            try:
                np.testing.assert_array_equal(ev.map(x[:, None]), x**2)
            except BaseException as error:
                failed.append(error)
            ended.set()

        thread = threading.Thread(target=differentiate)
        thread.start()
        slots.await_count(2)
        node = cluster.add_node(num_cpus=2)
        slots.await_count(4)
        cluster.remove_node(node, allow_graceful=False)
        slots.await_count(2)
        thread.join(120)
        assert not failed
        assert ended.is_set()
        assert ev.slots == 2


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own, of a cluster within this process
def test_labels_are_kept_to(cluster: Any) -> None:
    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    executor = distfd.RayExecutor(labels={"kind": "first"})
    with distfd.Evaluator(sleeper, executor=executor) as ev:
        assert ev.gradient([1.0, 2.0]) == pytest.approx([2.0, 4.0])
        assert ev.slots == 2


SECOND = """
import sys, time
import numpy as np
import distfd
def sleeper(x):
    time.sleep(0.3)
    return float(x @ x)
g, seen = None, []
with distfd.Evaluator(sleeper, executor=distfd.RayExecutor(address=sys.argv[1])) as ev:
    ev.start(wait=True)
    print(ev.slots, flush=True)
    g = ev.gradient(np.arange(1.0, 8.0))
assert np.allclose(g, 2 * np.arange(1.0, 8.0)), g
"""


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own, of a cluster within this process
def test_a_second_driver_has_its_share_and_gives_it_back(cluster: Any) -> None:
    import ray

    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    address = ray.get_runtime_context().gcs_address
    slots = Slots()
    with distfd.Evaluator(sleeper, observers=[slots], retries=0) as ev:
        values: list[Any] = []
        thread = threading.Thread(target=lambda: values.extend(ev.map(np.arange(400.0)[:, None])))
        thread.start()
        slots.await_count(4)
        second = subprocess.run(
            [sys.executable, "-c", SECOND, address],
            cwd=ROOT,
            # As this process, which has started the cluster: a token may be lying about that it does not use.
            env={**os.environ, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "disabled")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 0, second.stderr
        assert second.stdout.split()[-1] == "2"
        slots.await_count(4)
        thread.join(180)
        assert values == [k**2 for k in range(400)]
        summary = ev.differentiate([1.0])
        assert summary.n_failed == 0


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    """What drivers write into a cluster of four slots that is not there."""
    import ray
    from ray.experimental import internal_kv

    kept: dict[bytes, bytes] = {}

    def key(name: bytes | str) -> bytes:
        return name.encode() if isinstance(name, str) else name

    def put(name: bytes | str, value: str, **_: Any) -> None:
        kept[key(name)] = value.encode()

    monkeypatch.setattr(internal_kv, "_internal_kv_list", lambda *_, **__: list(kept))
    monkeypatch.setattr(internal_kv, "_internal_kv_get", lambda name, **_: kept.get(key(name)))
    monkeypatch.setattr(internal_kv, "_internal_kv_put", put)
    monkeypatch.setattr(internal_kv, "_internal_kv_del", lambda name, **_: kept.pop(key(name), None))
    context = SimpleNamespace(get_job_id=lambda: "01")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray_census, "live_nodes", list)
    monkeypatch.setattr(ray_census, "dead_jobs", set)
    monkeypatch.setattr(ray_census, "count_slots", lambda *_: 4)
    return kept


def test_the_last_request_for_room_knows_who_has_left(
    notes: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One leaves right after another has: what that had asked for is not asked for again."""
    asked: list[list[Any]] = []
    monkeypatch.setattr(ray_census, "request", lambda asks: asked.append(list(asks)))
    first, second = (
        ray_census.ClusterCapacity(Resources(), ClusterOptions(request_slots=2), lambda: True) for _ in "ab"
    )
    for census in (first, second, first):
        census.look()
    assert [len(asks) for asks in asked] == [1, 2, 2]
    for census, rest in ((second, 1), (first, 0)):
        census._ended.tell()
        census._run()
        assert len(asked[-1]) == rest
    assert notes == {}


def test_a_driver_whose_workers_only_stay_leaves_its_share_to_others(notes: dict[bytes, bytes]) -> None:
    first, second = (ray_census.ClusterCapacity(Resources(), ClusterOptions(), lambda: True) for _ in "ab")
    share = LocalShare(Mock(count=Mock(return_value=1)), Mock(), first)
    for resting, slots in ((False, 2), (True, 4), (False, 2)):
        if resting:
            share.rest()
        else:
            share.hand_to(Mock())
        first.look()
        second.look()
        first.look()
        assert second.target == slots
        assert share.target == 2  # what it would have if it came back


HOLDS = SECOND.partition("    g = ev")[0] + "    time.sleep(600)\n"


@pytest.mark.slow
def test_the_share_of_a_driver_that_was_killed_is_free_at_once(
    private_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(ray_census, "_DEAD", 1e9)  # Ray alone tells that it is gone
    census = ray_census.ClusterCapacity(Resources(), ClusterOptions(), lambda: True)
    census.look()
    slots = census.target
    assert slots > 1
    env = {**os.environ, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "disabled")}
    argv = [sys.executable, "-c", HOLDS, ray.get_runtime_context().gcs_address]
    with subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == str(slots // 2)
        census.look()
        assert census.target == slots // 2
        other.kill()
    end = time.monotonic() + 60
    while census.target != slots:
        assert time.monotonic() < end
        time.sleep(0.1)
        census.look()
    census.stop()


@pytest.mark.slow
def test_a_gradient_from_inside_a_task(private_ray: None) -> None:
    import ray

    @ray.remote(num_cpus=1)
    def inside() -> list[float]:
        def sleeper(x: NDArray[np.float64]) -> float:
            time.sleep(0.3)
            return float(x @ x)

        found: list[float] = distfd.gradient(sleeper, np.arange(1.0, 6.0)).tolist()
        return found

    # Two at once, on a cluster whose slots are fewer than both would take.
    for gradient in ray.get([inside.remote(), inside.remote()], timeout=120):
        assert gradient == pytest.approx([2.0, 4.0, 6.0, 8.0, 10.0], rel=1e-6)
