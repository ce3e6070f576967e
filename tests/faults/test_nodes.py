"""Nodes that go, hang, or come late: the others finish the work, and nobody is charged for it."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

import distfd
from distfd import events
from distfd.executors.ray.executor import _warm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own, of a cluster within this process
]

X = np.arange(1.0, 13.0)


@pytest.fixture(scope="module")
def cluster(_ray_ends: None) -> Iterator[Any]:
    """A head without CPUs and a node with two."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.connect()  # type: ignore[no-untyped-call]  # Ray lacks types
    made.add_node(num_cpus=2)
    yield made
    ray.shutdown()
    made.shutdown()  # type: ignore[no-untyped-call]  # Ray lacks types


def await_cpus(count: int) -> None:
    """Until the cluster has so many."""
    import ray

    end = time.monotonic() + 120
    while sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]) != count:  # type: ignore[no-untyped-call]  # Ray lacks types
        assert time.monotonic() < end
        time.sleep(0.1)


def raylet_of(node: Any) -> psutil.Process:
    (info,) = node.all_processes["raylet"]
    return psutil.Process(info.process.pid)


def removed(cluster: Any, node: Any) -> None:
    cluster.remove_node(node, allow_graceful=False)


def asked_to_go(cluster: Any, node: Any) -> None:
    cluster.remove_node(node, allow_graceful=True)


def raylet_killed(cluster: Any, node: Any) -> None:
    raylet_of(node).kill()


def stopped(cluster: Any, node: Any) -> None:
    """As if it hung, or its cable were pulled: nothing on it answers, and nothing is closed."""
    raylet = raylet_of(node)
    for process in (raylet, *raylet.children(recursive=True)):
        process.send_signal(signal.SIGSTOP)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(removed, marks=pytest.mark.nightly),
        asked_to_go,
        raylet_killed,
        pytest.param(stopped, marks=pytest.mark.nightly),
    ],
)
def test_the_others_finish_what_a_node_had(cluster: Any, tmp_path: Path, fault: Callable[[Any, Any], None]) -> None:
    def fun(x: NDArray[np.float64]) -> float:
        time.sleep(0.5)
        return float(x @ x)

    seen: list[events.Event] = []
    _warm.end()  # those that stayed from the test before know of a new node only after two seconds
    await_cpus(2)
    node = cluster.add_node(num_cpus=2)
    await_cpus(4)
    victims: list[psutil.Process] = []
    under_way = threading.Event()

    def observer(event: events.Event) -> None:
        seen.append(event)
        if isinstance(event, events.BatchFinished):
            under_way.set()

    def act() -> None:
        assert under_way.wait(120)
        victims.extend([raylet_of(node), *raylet_of(node).children(recursive=True)])
        fault(cluster, node)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        with distfd.Evaluator(fun, retries=0, observers=[observer], deterministic=False, check=False) as ev:
            ev.start(wait=True)
            assert ev.slots == 4
            result = ev.differentiate(X)
            np.testing.assert_allclose(result.derivative, 2 * X, rtol=1e-6)
            assert (result.n_evaluations, result.n_failed, result.n_retried) == (13, 0, 0)
            assert not [event for event in seen if isinstance(event, events.AttemptFailed)]
    finally:
        thread.join()
        for process in victims:
            if process.is_running() and process.status() == psutil.STATUS_STOPPED:
                process.kill()


def test_a_cluster_that_can_never_fit_is_an_error_at_once(cluster: Any) -> None:
    with pytest.raises(distfd.ClusterError, match="no node can run an evaluation: it needs 3 CPU"):
        distfd.gradient(lambda x: float(x @ x), X, executor=distfd.RayExecutor(resources={"num_cpus": 3}))


def test_a_busy_cluster_is_waited_for_and_that_is_said(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    class Holder:
        def here(self) -> None:
            pass

    monkeypatch.setattr("distfd.evaluation.stall_notice._FIRST", 1.0)
    await_cpus(2)
    actor: Any = ray.remote(Holder)
    holder = actor.options(num_cpus=2).remote()
    ray.get(holder.here.remote())
    told: list[events.Waiting] = []

    def observer(event: events.Event) -> None:
        if isinstance(event, events.Waiting):
            told.append(event)
            ray.kill(holder)

    with distfd.Evaluator(lambda x: float(x @ x), observers=[observer]) as ev:
        ev.start(wait=True)
        np.testing.assert_allclose(ev.gradient(X), 2 * X, rtol=1e-6)
    assert told
    assert "no slot is up; the cluster may be busy with other work" in told[0].reason
