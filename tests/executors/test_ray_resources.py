"""What an evaluation holds on a Ray cluster: licences, threads, and several nodes at once."""

from __future__ import annotations

import itertools
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.errors import ClusterError, InputError
from distfd.executors.ray.resources import Resources, _groups
from distfd.objectives.command.objective import CommandObjective
from distfd.objectives.command.work_directory import fill
from distfd.workers.hosts import HOSTS_FILE, hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

X = np.arange(1.0, 8.0)


@pytest.mark.parametrize(
    ("places", "nodes", "wanted"),
    [([1, 1, 1], 2, 1), ([1, 1, 1], 3, 1), ([2, 2, 2], 2, 3), ([4, 1, 1], 2, 2), ([4, 4], 2, 4), ([9, 1, 1, 1], 2, 3)],
)
def test_as_many_groups_of_different_nodes_as_fit(places: list[int], nodes: int, wanted: int) -> None:
    has = [{"CPU": float(2 * count + 1)} for count in places]
    assert _groups(Resources(num_cpus=2, nodes=nodes), has, None) == wanted
    assert _by_trying(places, nodes) == wanted
    assert _groups(Resources(num_cpus=2, nodes=nodes), has, 1) == 1


def _by_trying(places: list[int], nodes: int) -> int:
    """The most groups, by brute force."""
    best = 0
    for group in itertools.combinations(range(len(places)), nodes):
        if all(places[k] for k in group):
            left = [p - (k in group) for k, p in enumerate(places)]
            best = max(best, 1 + _by_trying(left, nodes))
    return best


def test_groups_that_fit_nowhere_are_refused() -> None:
    with pytest.raises(ClusterError, match="2 CPU on each of 3 nodes; of the cluster's 3 nodes 2 have that"):
        _groups(Resources(num_cpus=2, nodes=3), [{"CPU": 4.0}, {"CPU": 2.0}, {"CPU": 1.0}], None)
    with pytest.raises(ClusterError, match="and 1 licence; of"):
        _groups(Resources(nodes=2, custom={"licence": 1}), [{"CPU": 4.0}, {"CPU": 2.0}], None)
    assert _groups(Resources(nodes=2, custom={"licence": 1}), [{"CPU": 4.0, "licence": 1}, {"CPU": 4.0}], None) == 1
    with pytest.raises(InputError, match="nodes must be a whole number"):
        Resources(nodes=0)
    with pytest.raises(InputError, match="an evaluation on several nodes needs"):
        Resources(num_cpus=0, nodes=2)


@pytest.mark.slow
def test_programs_have_the_threads_that_their_worker_has(tmp_path: Path, private_ray: None) -> None:
    argv = ["sh", "-c", "echo $OMP_NUM_THREADS $MKL_NUM_THREADS $OPENBLAS_NUM_THREADS > threads; echo 1"]
    outputs = {"J": {"file": "stdout", "regex": "(.+)"}}
    program = CommandObjective(argv, outputs=outputs, base=tmp_path, work=tmp_path / "work", keep="all")

    def threads(_: Any) -> list[str | None]:
        return [os.environ.get(f"{name}_NUM_THREADS") for name in ("OMP", "MKL", "OPENBLAS")]

    with distfd.Evaluator(program, executor=distfd.RayExecutor(resources={"num_cpus": 3}, max_slots=2)) as ev:
        ev.map([[1.0], [2.0], [3.0]])
        assert ev.map_function(threads, [0]) == [["3", "3", "3"]]
    written = {path.read_text().strip() for path in (tmp_path / "work").glob("*/threads")}
    assert written == {"3 3 3"}


def test_the_hosts_file_is_there_where_an_evaluation_has_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISTFD_HOSTS", raising=False)
    (tmp_path / "one").mkdir()
    fill(tmp_path / "one", {}, (), ())
    assert not (tmp_path / "one" / HOSTS_FILE).exists()
    monkeypatch.setenv("DISTFD_HOSTS", "a1,a2")
    (tmp_path / "two").mkdir()
    fill(tmp_path / "two", {}, (), ())
    assert (tmp_path / "two" / HOSTS_FILE).read_text() == "a1\na2\n"
    assert hosts() == ["a1", "a2"]


@pytest.fixture
def nodes(_ray_ends: None) -> Iterator[Any]:
    """Three small nodes, two licences among them."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "resources": {"licence": 2}})
    for _ in range(2):
        cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    cluster.connect()  # type: ignore[no-untyped-call]  # Ray lacks types
    yield cluster
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray lacks types


def free_cpus() -> float:
    import ray

    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]  # Ray lacks types
    return free.get("CPU", 0)


class Overlaps:
    """Counts, by files, how many of its kind run at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def reset(self) -> None:
        pass

    def evaluate(self, x: NDArray[np.float64]) -> float:
        mine = self.folder / f"{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}"
        mine.touch()
        time.sleep(0.3)
        there = len(list(self.folder.glob("*-*-*")))
        (self.folder / "most").open("a").write(f"{there}\n")
        mine.unlink()
        return float(x @ x)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own, of a cluster within this process
def test_two_licences_are_never_held_by_three(nodes: Any, tmp_path: Path) -> None:
    executor = distfd.RayExecutor(resources={"num_cpus": 0.1, "custom": {"licence": 1}})
    with distfd.Evaluator(Overlaps, args=(tmp_path,), executor=executor) as ev:
        np.testing.assert_allclose(ev.gradient(X), 2 * X, rtol=1e-6)
        assert ev.slots == 2
    counts = [int(line) for line in (tmp_path / "most").read_text().split()]
    assert len(counts) == 8
    assert max(counts) <= 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own, of a cluster within this process
def test_an_evaluation_spans_nodes_and_is_told_which(nodes: Any, tmp_path: Path) -> None:
    argv = ["sh", "-c", f"cp hosts.txt {tmp_path}/$$; echo $DISTFD_HOSTS > {tmp_path}/env-$$; echo 1"]
    program = CommandObjective(argv, outputs={"J": {"file": "stdout", "regex": "(.+)"}}, base=tmp_path)
    executor = distfd.RayExecutor(resources={"num_cpus": 1, "nodes": 3})
    with distfd.Evaluator(program, executor=executor) as ev:
        assert ev.map([[1.0], [2.0], [3.0], [4.0]]).tolist() == [1.0] * 4
        assert ev.slots == 2, "two CPUs on each of three nodes"
        assert free_cpus() == 0, "what the program is to start on the other nodes is held for it"
    lists = [path.read_text().split() for path in tmp_path.iterdir() if path.name.isdigit()]
    assert len(lists) >= 4, "and one more for each that was slow, as another slot then tried it too"
    assert all(len(found) == 3 for found in lists)
    for path in tmp_path.glob("env-*"):
        assert len(path.read_text().strip().split(",")) == 3
    give_up = time.monotonic() + 30
    while free_cpus() < 6:
        assert time.monotonic() < give_up, "the places are given back"
        time.sleep(0.1)
    with pytest.raises(ClusterError, match=r"on each of 4 nodes; of the cluster's 3 nodes 3 have that"):
        distfd.gradient(Overlaps, X, args=(tmp_path,), executor=distfd.RayExecutor(resources={"nodes": 4}))
