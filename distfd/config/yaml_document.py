"""What a YAML file says and where it says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from distfd.config.mistakes import KeyPath, Mistake, Place


@dataclass(slots=True)
class Spot:
    """Where a value stands, its key, and what is inside it.

    ``override`` is the override that the value came from, if it did.
    """

    at: Place
    key: Place | None = None
    inside: dict[str, Spot] | list[Spot] | None = None
    override: str | None = None

    def child(self, part: str | int) -> Spot | None:
        """The spot of one key or item, if it is there."""
        if isinstance(self.inside, dict):
            return self.inside.get(part) if isinstance(part, str) else None
        if isinstance(self.inside, list) and isinstance(part, int) and 0 <= part < len(self.inside):
            return self.inside[part]
        return None


@dataclass
class Document:
    """What a file says: plain data, where each part of it stands, and what was wrong with it as YAML."""

    name: str
    data: Any
    spot: Spot
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(
        self, path: KeyPath, text: str, given: str = "", suggestion: str = "", *, key: bool = False, hides: bool = False
    ) -> Mistake:
        """A mistake at this path, or at the nearest one above it that is there.

        With ``key`` it stands at the key, else at the value.
        """
        spot, override = self.spot, self.spot.override
        for part in path:
            below = spot.child(part)
            if below is None:
                key = True
                break
            spot = below
            override = spot.override or override
        if override is not None:
            return Mistake(f"override {override}", path, text, given, suggestion, hides=hides)
        at = spot.key if key and spot.key else spot.at
        return Mistake(f"{self.name}:{at[0]}:{at[1]}", path, text, given, suggestion, at, hides)
