"""The content of a YAML file, with the place of each part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from distfd.config.mistakes import KeyPath, Mistake, Place


@dataclass(slots=True)
class Spot:
    """The place of a value, the place of its key, and the spots inside it.

    ``override`` is the override that the value came from, if any.
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
    """The content of a file: plain data, the place of each part, and mistakes in its YAML."""

    name: str
    data: Any
    spot: Spot
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(
        self, path: KeyPath, text: str, given: str = "", suggestion: str = "", *, key: bool = False, hides: bool = False
    ) -> Mistake:
        """A mistake at this path, or at the nearest existing path above it.

        With ``key`` its place is that of the key, else that of the value.
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
