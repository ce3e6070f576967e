"""What an evaluation needs, and how many of them the nodes of a cluster can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypedDict

from distfd.core.errors import ClusterError, InputError
from distfd.core.suggestions import did_you_mean
from distfd.core.validation import is_number, is_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class Resources:
    """What one evaluation needs.

    Parameters
    ----------
    num_cpus, num_gpus : float
    memory : int or None
        Bytes.
    custom : mapping
        Ray's custom resources, such as licences: {name: amount}.
    nodes : int
        Different nodes that the evaluation spans, as MPI programs do; ``num_cpus``, ``num_gpus`` and ``memory`` are
        then those of each, ``custom`` those of the evaluation.
    labels : mapping
        Ray's labels of the nodes it may run on: {label: value}; ``!value``, ``in(a, b)`` and ``!in(a, b)`` too.
    """

    num_cpus: float = 1
    num_gpus: float = 0
    memory: int | None = None
    custom: Mapping[str, float] = field(default_factory=dict)
    nodes: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, given in (("custom", self.custom), ("labels", self.labels)):
            if not isinstance(given, Mapping):
                raise InputError(f"resources: {name} must be values by name (was {given!r})")
        amounts = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, "memory": self.memory or 0, **self.custom}
        for name, amount in amounts.items():
            if not is_number(amount) or amount < 0:
                raise InputError(f"resources: {name} must be >= 0 (was {amount!r})")
        if not is_whole(self.nodes) or self.nodes < 1:
            raise InputError(f"resources: nodes must be a whole number >= 1 (was {self.nodes!r})")
        if self.nodes > 1 and not (self.num_cpus or self.num_gpus or self.memory):
            raise InputError(
                "resources: an evaluation on several nodes needs num_cpus, num_gpus or memory above 0, "
                "which it holds on each of them"
            )

    def allows(self, labels: Mapping[str, str]) -> bool:
        """Whether an evaluation may run on a node with these labels."""
        return all(_matches(wanted, labels.get(label)) for label, wanted in self.labels.items())

    @property
    def cpus_alone(self) -> bool:
        """Whether an evaluation holds nothing but CPUs, of one node."""
        return self.nodes == 1 and not self.num_gpus and not self.memory and not self.custom

    @property
    def on_each_node(self) -> dict[str, float]:
        """By Ray's names of resources, what it holds on each of its nodes."""
        wanted = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory or 0}
        return {name: float(amount) for name, amount in wanted.items() if amount}

    @property
    def needs(self) -> dict[str, float]:
        """By Ray's names of resources, what is not 0."""
        wanted = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory or 0, **self.custom}
        return {name: float(amount) for name, amount in wanted.items() if amount}


class Needs(TypedDict, total=False):
    """What `RayExecutor` takes of `Resources` beside its own keywords, whose num_cpus are those of the cluster."""

    num_gpus: float
    memory: int | None
    custom: Mapping[str, float]
    nodes: int
    labels: Mapping[str, str]


def make_resources(given: Mapping[str, Any]) -> Resources:
    """Resources from plain data.

    Raises
    ------
    InputError
        If there is a key that no resource has.
    """
    known = [f.name for f in fields(Resources)]
    if not isinstance(given, Mapping):
        raise InputError(f"resources: must be values by name, of {', '.join(known)} (was {given!r})")
    for key in given:
        if key not in known:
            raise InputError(f"resources: there is no {key!r}; use {', '.join(known)}{did_you_mean(str(key), known)}")
    return Resources(**given)


def check_needs(needs: Mapping[str, Any], keywords: Iterable[str]) -> None:
    """What `RayExecutor` was given beside its own keywords, which are named: only resources.

    Raises
    ------
    InputError
        If there is anything else, with what serves in its place.
    """
    known = [f.name for f in fields(Resources)]
    for key in needs:
        if key in _COUNTS:
            raise InputError(
                f"RayExecutor: there is no {key!r}; num_cpus=N gives a private cluster N evaluations at once, and "
                "max_slots=N is the most of them on any cluster"
            )
        if key not in known:
            every = list(dict.fromkeys((*keywords, *known)))
            meant = did_you_mean(key, every) or f"; it has {', '.join(every)}"
            raise InputError(f"RayExecutor: there is no {key!r}{meant}")


_COUNTS = frozenset(
    {
        *("n", "slots", "n_slots", "num_slots", "workers", "n_workers", "num_workers", "max_workers", "processes"),
        *("n_processes", "num_processes", "n_procs", "num_procs", "nproc", "nprocs", "cores", "n_cores", "num_cores"),
        *("ncores", "n_jobs", "jobs", "n_cpus", "ncpus", "cpus", "threads", "n_threads", "parallel", "concurrency"),
    }
)
"""What people write for evaluations at once."""


def live_nodes() -> list[Mapping[str, Any]]:
    """Ray's records of the nodes that are alive."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]  # Ray lacks types


def count_slots(resources: Resources, alive: Sequence[Mapping[str, Any]], max_slots: int | None) -> int:
    """How many evaluations the cluster can run at once.

    Parameters
    ----------
    alive : sequence of mapping
        As of `live_nodes`.

    Raises
    ------
    ClusterError
        If no node could ever run one.
    """
    needs = resources.needs
    nodes = [node["Resources"] for node in alive if resources.allows(node.get("Labels", {}))]
    if not nodes and resources.labels:
        wanted = ", ".join(f"{label}: {value}" for label, value in resources.labels.items())
        raise ClusterError(f"resources.labels: none of the cluster's {len(alive)} nodes has {wanted}")
    if not needs:
        return max_slots or max(1, int(sum(node.get("CPU", 0) for node in nodes)))
    if resources.nodes > 1:
        return _groups(resources, nodes, max_slots)
    fitting = [min(int(node.get(name, 0) / amount + 1e-9) for name, amount in needs.items()) for node in nodes]
    total = sum(fitting)
    if total == 0:
        largest = {name: max((node.get(name, 0) for node in nodes), default=0) for name in needs}
        raise ClusterError(
            f"resources: no node can run an evaluation: it needs {_amounts(needs)}, the most that a node has is "
            f"{_amounts(largest)}"
        )
    return min(total, max_slots) if max_slots else total


def _groups(resources: Resources, nodes: list[dict[str, float]], max_slots: int | None) -> int:
    """How many evaluations that span several nodes fit at once.

    s groups of n different nodes fit if each node gives at most one place to each group: if the sum of min(places, s)
    is at least n s.
    """
    each, n = resources.on_each_node, resources.nodes
    places = [min(int(node.get(name, 0) / amount + 1e-9) for name, amount in each.items()) for node in nodes]
    total = max((s for s in range(1, sum(places) // n + 1) if sum(min(p, s) for p in places) >= n * s), default=0)
    for name, amount in resources.custom.items():
        total = min(total, int(sum(node.get(name, 0) for node in nodes) / amount + 1e-9))
    if total == 0:
        raise ClusterError(
            f"resources: an evaluation needs {_amounts(each)} on each of {n} nodes"
            + (f", and {_amounts(resources.custom)}" if resources.custom else "")
            + f"; of the cluster's {len(nodes)} nodes {sum(p > 0 for p in places)} have that"
        )
    return min(total, max_slots) if max_slots else total


def _amounts(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in amounts.items())


def _matches(wanted: str, value: str | None) -> bool:
    """Ray's label selectors: https://docs.ray.io/en/latest/ray-core/scheduling/labels.html."""
    plain = wanted.removeprefix("!").strip()
    listed = plain.startswith("in(") and plain.endswith(")")
    among = [each.strip() for each in plain[3:-1].split(",")] if listed else [plain]
    return (value in among) != wanted.startswith("!")
