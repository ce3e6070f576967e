"""The J of a session, call by call: once it has changed in this process, it is another J."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distfd.fingerprint.watch import Watch
from distfd.workers.surroundings import Surroundings, environ_table

if TYPE_CHECKING:
    from distfd.objectives.base import Objective


class ObjectiveWatch:
    """Looks whether an objective, and what it sees of this process, is as it was.

    Parameters
    ----------
    objective : Objective

    Attributes
    ----------
    objective : Objective
        The same with its surroundings, as they were noted last.
    """

    def __init__(self, objective: Objective) -> None:
        self._environ: dict[Any, Any]
        self._watch: Watch
        self._around: Surroundings | None
        self.objective = objective
        self.note()

    def note(self) -> None:
        """Take J as it is now for what it was."""
        self._environ = dict(environ_table())
        self._around = Surroundings.here() if self.objective.sees_process else None
        self._watch = Watch(self.objective.parts)
        self.objective = self.objective.within(self._around)

    @property
    def changed(self) -> bool:
        """Whether J is another than was noted, so that its values may be others."""
        return not self._watch.same() or self._around_weighs()

    @property
    def restless(self) -> bool:
        """Whether anything that it sees of this process has changed, be it of no weight for its values."""
        return self._around is not None and self._now() != self._around

    def _around_weighs(self) -> bool:
        if self._around is None:
            return False
        now = self._now()
        return now != self._around and now.weighty != self._around.weighty

    def _now(self) -> Surroundings:
        if environ_table() == self._environ:
            return Surroundings.here(self._around)
        table = dict(environ_table())
        now = Surroundings.here()
        if self._around is not None and now.environ == self._around.environ:
            self._environ = table  # only variables of this process itself have changed, such as numbers of threads
        return now
