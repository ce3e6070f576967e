"""Configurations that were valid stay valid and mean the same: the schema keeps all that is recorded of it."""

from __future__ import annotations

from typing import Any

from recorded import SCHEMA, read, schema

LISTS_OF_KINDS = ("anyOf", "oneOf", "allOf")


class Comparison:
    """What a schema has lost against its record."""

    def __init__(self, recorded: Any, present: Any) -> None:
        self._recorded, self._present = recorded, present
        self._seen: set[tuple[str, str]] = set()

    def lost(self, before: Any, now: Any, where: str = "") -> list[str]:
        before, now, seen = self._followed(before, now)
        if seen:
            return []
        new = set(now.get("required", [])) - set(before.get("required", []))
        found = [f"{where}/{name} must be given now" for name in sorted(new)]
        for key, value in before.items():
            if key in ("$defs", "required"):
                continue  # the first is reached by what refers to it
            place = f"{where}/{key}"
            found += self._lost(key, value, now[key], where) if key in now else [f"{place} is gone"]
        return found

    def _lost(self, key: str, before: Any, now: Any, where: str) -> list[str]:
        """The same for one keyword of a schema."""
        place = f"{where}/{key}"
        if key in LISTS_OF_KINDS:
            gone = [each for each in before if all(self._like(each, other) for other in now)]
            return [f"{place}: there is no {each} any more" for each in gone]
        if key == "enum":
            return [f"{place}: {each!r} is gone" for each in before if each not in now]
        if key == "properties":
            found = [f"{where}/{name} is gone" for name in before if name not in now]
            for name in before.keys() & now.keys():
                found += self.lost(before[name], now[name], f"{where}/{name}")
            return found
        if isinstance(before, dict) and isinstance(now, dict) and key != "default":
            return self.lost(before, now, place)
        if isinstance(before, dict) and isinstance(now, dict):  # a section's default has what keys are added to it
            now = {name: now[name] for name in before if name in now}
        return [] if before == now else [f"{place} was {before!r}, and is {now!r}"]

    def _like(self, before: Any, now: Any) -> list[str]:
        """As `lost`, for an alternative that may yet be another's."""
        apart = Comparison(self._recorded, self._present)
        apart._seen = set(self._seen)
        return apart.lost(before, now)

    def _followed(self, before: Any, now: Any) -> tuple[Any, Any, bool]:
        """What references lead to, and whether these two were compared before."""
        pair = (before.get("$ref", ""), now.get("$ref", ""))
        seen = pair in self._seen
        if all(pair):
            self._seen.add(pair)
        return self._target(before, self._recorded), self._target(now, self._present), seen and all(pair)

    @staticmethod
    def _target(part: Any, root: Any) -> Any:
        if "$ref" not in part:
            return part
        rest = {key: value for key, value in part.items() if key != "$ref"}
        target = root
        for name in part["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        return {**target, **rest}


def lost(recorded: Any, present: Any) -> list[str]:
    return Comparison(recorded, present).lost(recorded, present)


def test_nothing_is_gone_from_the_schema() -> None:
    assert lost(read(SCHEMA), schema()) == []


def test_what_counts_as_a_loss() -> None:
    number, text = {"type": "number", "default": 1.0}, {"anyOf": [{"type": "string"}, {"type": "null"}]}
    properties = {"a": number, "b": text, "c": {"$ref": "#/$defs/C"}}
    before: dict[str, Any] = {"properties": properties, "$defs": {"C": {"enum": ["x", "y"]}}}

    def changed(name: str, part: Any, **more: Any) -> list[str]:
        return lost(before, {**before, "properties": {**before["properties"], name: part}, **more})

    assert changed("d", number) == []
    assert changed("b", {"anyOf": [{"type": "null"}, {"type": "number"}, {"type": "string"}]}) == []
    assert changed("c", {"$ref": "#/$defs/D"}, **{"$defs": {"D": {"enum": ["x", "y", "z"]}}}) == []
    assert changed("a", {"type": "number", "default": 2.0}) == ["/a/default was 1.0, and is 2.0"]
    assert changed("a", {"type": "string", "default": 1.0}) == ["/a/type was 'number', and is 'string'"]
    assert changed("b", {"anyOf": [{"type": "null"}]}) != []

    section = {"properties": {"s": {"type": "object", "default": {"k": 1, "l": None}}}}

    def defaults(now: dict[str, Any]) -> list[str]:
        return lost(section, {"properties": {"s": {"type": "object", "default": now}}})

    assert defaults({"k": 1, "l": None, "more": None}) == []
    assert defaults({"k": 2, "l": None}) == ["/s/default was {'k': 1, 'l': None}, and is {'k': 2, 'l': None}"]
    assert defaults({"k": 1}) == ["/s/default was {'k': 1, 'l': None}, and is {'k': 1}"]
    assert changed("c", {"enum": ["x"]}) == ["/c/enum: 'y' is gone"]
    assert changed("a", number, required=["a"]) == ["/a must be given now"]
    assert lost(before, {**before, "properties": {}})[0] == "/a is gone"
