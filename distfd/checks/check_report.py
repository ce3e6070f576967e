"""A check as text for a terminal, and as the dictionary of its JSON file."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from distfd.differentiation.assessment import TRUST
from distfd.differentiation.sweep_result import coordinate_lines, noise_line

if TYPE_CHECKING:
    from distfd.checks.derivative_check import Check

_FEW = 10


def check_text(check: Check) -> str:
    """The verdict in the first line; then each coordinate's, the sweep, what to set, and what it took."""
    sweep = check.sweep
    lines = [check.sentence, noise_line(sweep), *(f"warning: {text}" for text in check.warnings)]
    if check.components:
        titles = ("as configured", "its noise", "by the sweep", "+-", "verdict")
        width = max(4, *(len(component.label) for component in check.components))
        lines += ["", f"{'':{width}}" + "".join(f"{title:>15}" for title in titles)]
        for one in check.components:
            cells = [f"{one.configured:.8g}", f"{one.noise:.1e}", f"{one.known:.8g}", f"{one.bar:.1e}", one.verdict]
            lines.append(f"{one.label:{width}}" + "".join(f"{cell:>15}" for cell in cells))
    for row in range(len(sweep.coordinates)):
        lines += ["", *coordinate_lines(sweep, row, check.tolerance)]
    lines.append("")
    if check.doubtful:
        few = ", ".join(check.label(k) for k in check.doubtful[:_FEW])
        few += f" and {len(check.doubtful) - _FEW} more" if len(check.doubtful) > _FEW else ""
        lines.append(f"not swept, and noise alone may make them wrong: {few}")
    lines.append(_remedy(check))
    several = "" if check.n_evaluations == 1 else "s"
    lines.append(f"{check.n_evaluations} evaluation{several}, {check.n_reused} reused")
    return "\n".join(lines)


def _remedy(check: Check) -> str:
    """What to set; what stands in the way where nothing helps."""
    if check.advice is not None:
        return f"set this, and check again:\n  {check.advice}"
    if check.verdict == TRUST:
        return "nothing to change"
    noise = check.sweep.noise.level
    level = f" (its noise is {noise:.2g})" if noise > 0 else ""
    return (
        f"no step of any scheme does better: make J smoother{level}, as with a tighter tolerance or more digits of its "
        "output, or move x away from what the warnings name"
    )


def check_fields(check: Check, names: tuple[str, ...]) -> dict[str, Any]:
    """What the JSON file holds; numbers that are not known become null where it is written."""
    sweep, result = check.sweep, check.result
    noise = sweep.noise
    return {
        "verdict": check.verdict,
        "message": check.sentence,
        "advice": check.advice,
        "tolerance": check.tolerance,
        "noise": {"level": noise.level, "status": noise.status, "quantum": noise.quantum, "spacing": noise.spacing},
        "warnings": list(check.warnings),
        "components": [{"name": names[one.coordinate], **asdict(one)} for one in check.components],
        "doubtful": [names[k] for k in check.doubtful],
        "missing": [] if result is None else [names[k] for k in result.missing],
        "sweep": [
            {
                "name": names[k],
                "x": sweep.x[row],
                "derivative": sweep.derivative[row],
                "error": sweep.error[row],
                "step": sweep.step[row],
                "forward": sweep.forward[row],
                "forward_noise": sweep.forward_noise[row],
                "central": sweep.central[row],
                "central_noise": sweep.central_noise[row],
            }
            for row, k in enumerate(sweep.coordinates)
        ],
        "n_evaluations": check.n_evaluations,
        "n_reused": check.n_reused,
    }
