"""What one look found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVELS = ("ok", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One thing, how it stands, and the remedy.

    Parameters
    ----------
    topic : str
    text : str
        How it stands.
    level : str
        "ok"; "warning": runs work, and may be slow or unsafe; "error": a run would fail.
    remedy : str
        What to do; empty where nothing is to be done.
    exit_code : int
        Of the command line, for an error: that with which a run would fail.
    """

    topic: str
    text: str
    level: str = "ok"
    remedy: str = ""
    exit_code: int = 0

    def __post_init__(self) -> None:
        assert self.level in LEVELS, self.level
        assert (self.level == "error") == bool(self.exit_code), "an error, and only that, has an exit code"
        assert self.level == "ok" or self.remedy, "what is not well has a remedy"


def findings_text(findings: Sequence[Finding]) -> str:
    """The findings for people."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:8} {finding.topic:11} {finding.text}")
        if finding.remedy:
            lines.append(f"{'':8} {'':11} -> {finding.remedy}")
    counts = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    if counts["error"] or counts["warning"]:
        parts = [f"{n} {level}{'s' if n > 1 else ''}" for level, n in counts.items() if n and level != "ok"]
        lines.append("\n" + ", ".join(reversed(parts)))
    else:
        lines.append("\nall well")
    return "\n".join(lines)


def findings_fields(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings for programs."""
    return {"exit_code": exit_code(findings), "findings": [asdict(finding) for finding in findings]}


def exit_code(findings: Sequence[Finding]) -> int:
    """That of the first error; 0 where there is none."""
    return next((finding.exit_code for finding in findings if finding.level == "error"), 0)
