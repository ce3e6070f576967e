"""What the configuration may say one day and this version does not do yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distfd.config.mistakes import KeyPath, Mistake, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distfd.config.document import Document

_ANY = object()
"""Any value but null and 0, which ask for nothing."""

TABLE: tuple[tuple[KeyPath, Any, str], ...] = (
    (("cluster", "stop_before"), _ANY, "interrupt the run with SIGTERM; it resumes where it was"),
)
"""Path, the value that is refused there, and what to do instead. To support one, take its line away."""


def unsupported(document: Document) -> Iterator[Mistake]:
    """The mistakes of a document that asks for what is not there yet."""
    for path, refused, instead in TABLE:
        value = _value(document.data, path)
        asks = value is not None and not _same(value, 0) if refused is _ANY else _same(value, refused)
        if asks:
            asked = ".".join(map(str, path)) if refused is _ANY else f"{path[-1]} {shown(value).strip(chr(34))}"
            text = f"{asked} is not supported by this version of distfd"
            yield document.mistake(path, text + (f"; {instead}" if instead else ""), hides=True)


def _value(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def _same(value: Any, other: Any) -> bool:
    # True == 1 to Python, and not to YAML.
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)
