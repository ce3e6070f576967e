"""What a cluster that was joined has for this driver, while it grows, shrinks, and is shared with others."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from typing import TYPE_CHECKING

from distfd.core.errors import ClusterError
from distfd.executors.ray.ray_request import asked_for, request
from distfd.executors.ray.ray_share import fair_slots
from distfd.executors.ray.resources import count_slots, live_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.executors.ray.options import ClusterOptions
    from distfd.executors.ray.ray_request import Ask
    from distfd.executors.ray.resources import Resources

_EVERY = 2.0
"""Seconds between two looks, and between two signs of life."""
_DEAD = 15.0
"""Seconds without a sign of life after which another driver is taken for gone, where Ray does not say so before."""
_HOPE = 1200.0
"""Seconds for which no node may fit an evaluation: autoscalers take minutes."""
_SPACE = b"distfd"


class Census:
    """Counts, in a thread of its own, as Ray's calls wait without end for a head that hangs.

    Each driver writes the share of the cluster that it can use into the cluster's key-value store, anew every two
    seconds; so each sees all others, and one whose job is dead is forgotten. No clocks are compared. What it wants an
    autoscaler to make room for stands there too: an autoscaler knows of one request, so each makes that of all.

    Parameters
    ----------
    resources : Resources
        Of one evaluation.
    options : ClusterOptions
    connected : callable
        Whether this process is still connected to the same cluster.
    """

    def __init__(self, resources: Resources, options: ClusterOptions, connected: Callable[[], bool]) -> None:
        self._resources, self._options, self._connected = resources, options, connected
        self._key = f"driver:{uuid.uuid4().hex}"
        self._beat = 0
        self._seen: dict[str, tuple[bytes, float]] = {}
        count = options.request_slots
        self._ask = None if count is None else asked_for(resources, count)
        self._others: dict[str, Ask] = {}
        self._requested: list[Ask] = []
        self._fitted = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="distfd counts nodes", daemon=True)
        self.target = 1
        """Slots that this driver should have."""
        self.hopeless: str | None = None
        """Why no evaluation will ever fit, once that is to be feared."""

    def start(self) -> None:
        """Look once, and then again and again.

        Raises
        ------
        ClusterError
            If no node can run an evaluation, and no other was asked for.
        """
        if self._ask is None:
            count_slots(self._resources, live_nodes(), None)
        self.look()
        self._thread.start()

    def stop(self) -> bool:
        """End, and be forgotten by the others; whether the thread is through with Ray."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(1.0 if self._ask is None else 15.0)  # room that nobody gives back costs money
        return not self._thread.is_alive()

    def look(self) -> None:
        """Count nodes and drivers."""
        now = time.monotonic()
        try:
            capacity = count_slots(self._resources, live_nodes(), None)
            self._fitted = now
        except ClusterError as error:
            if now - self._fitted > _HOPE:
                self.hopeless = f"{error}; none has come in {_HOPE / 60:.0f} minutes"
            capacity = 0
        most = min(self._options.max_slots or capacity, capacity)
        wants = {self._key: most / capacity if capacity else 1.0, **self._look_at_others(now)}
        self._tell(wants[self._key])
        if self._ask is not None:
            self._request([*self._others.values(), self._ask])
        self.target = min(fair_slots(self._key, wants, capacity), max(1, most))

    def _look_at_others(self, now: float) -> dict[str, float]:
        from ray.experimental import internal_kv as store

        found: dict[str, float] = {}
        dead: set[str] | None = None
        asks: dict[str, Ask] = {}
        for raw in store._internal_kv_list("driver:", namespace=_SPACE):  # noqa: SLF001  # as Ray's own libraries do
            key = raw.decode()
            told = store._internal_kv_get(key, namespace=_SPACE)  # noqa: SLF001  # the same
            if key == self._key or told is None:
                continue
            before, since = self._seen.get(key, (b"", now))
            self._seen[key] = told, since if told == before else now
            if now - self._seen[key][1] > _DEAD:
                store._internal_kv_del(key, namespace=_SPACE)  # noqa: SLF001  # the same
                continue
            dead = _dead_jobs() if dead is None else dead
            with contextlib.suppress(ValueError, KeyError, TypeError):  # of another version of distfd
                said = json.loads(told)
                if said.get("job") in dead:
                    store._internal_kv_del(key, namespace=_SPACE)  # noqa: SLF001  # the same
                    continue
                found[key] = min(1.0, max(0.0, float(said["wants"])))
                if said["asks"] is not None:
                    asks[key] = said["asks"]
        self._others = asks
        return found

    def _tell(self, wants: float) -> None:
        import ray
        from ray.experimental import internal_kv as store

        self._beat += 1
        job = ray.get_runtime_context().get_job_id()
        told = json.dumps({"wants": wants, "beat": self._beat, "job": job, "asks": self._ask})
        store._internal_kv_put(self._key, told, overwrite=True, namespace=_SPACE)  # noqa: SLF001  # as above

    def _request(self, asks: list[Ask]) -> None:
        asks.sort(key=json.dumps)
        if asks != self._requested:
            request(asks)
            self._requested = asks

    def _run(self) -> None:
        while not self._ended.wait(_EVERY) and self._connected():
            # What goes wrong once may go well the next time, and a cluster that is lost is seen by `ray_watch`.
            with contextlib.suppress(Exception):
                self.look()
        if not self._connected():
            return
        from ray.experimental import internal_kv as store

        with contextlib.suppress(Exception):
            store._internal_kv_del(self._key, namespace=_SPACE)  # noqa: SLF001  # as above
            if self._ask is not None:
                self._request(list(self._others.values()))


def _dead_jobs() -> set[str]:
    """Jobs whose drivers have ended, however they did; through a Ray client nobody can tell."""
    with contextlib.suppress(Exception):
        from ray._private import state  # ray.util.state needs a dashboard

        return {str(job["JobID"]) for job in state.jobs() if job["IsDead"]}  # type: ignore[no-untyped-call]  # Ray lacks types
    return set()
