"""``on_failure="repair"``: a derivative whose missing components are formed from other points than they were to be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.diagnostics import no_movement_warnings
from distfd.differentiation.failure_ladder import Ladder, failed_coordinates, gather_samples
from distfd.differentiation.method import Answer, Request, follow
from distfd.differentiation.placement import arrangements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from distfd.core.records import Failure
    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.failure_ladder import Samples
    from distfd.differentiation.method import Answer, Method, MultiRound, Wave
    from distfd.differentiation.stencils import Stencil

    Floats = NDArray[np.float64]

_WORDS = 300
"""Characters of a failure's text that are kept."""


@dataclass(frozen=True, eq=False)
class RepairedMethod:
    """A gradient or dense Jacobian by any method, and the failure ladder for the coordinates that it leaves missing.

    Where nothing fails it asks for what the method asks for, and nothing more.

    Parameters
    ----------
    method : Method
    site : Site
    stencil : Stencil
        The formula that the ladder aims at, a real one.
    h : (d,) ndarray
        The signed steps it begins with.
    vector : bool
    scale : (d,) ndarray, optional
        Typical sizes, for a method that finds its own steps: the ladder then begins with those that it found for the
        other coordinates (their median, by size), and with ``h`` only where it found none.
    drifts : bool
        See `distfd.differentiation.failure_ladder.Ladder`.
    most : int, optional
        Evaluations that the method and the ladder may take together; no limit where None.
    """

    method: Method[Answer]
    site: BasePoint
    stencil: Stencil
    h: Floats
    vector: bool
    scale: Floats | None = None
    drifts: bool = False
    most: int | None = None

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The method's own requests, then one for each rung."""
        return self.method.advance(()) if not waves else follow(self._course(), waves)

    def _course(self) -> MultiRound:
        waves: list[Wave] = []
        while isinstance(step := self.method.advance(waves), Request):
            waves.append((yield step))
        answer = step
        failed = failed_coordinates(waves)
        if not failed:
            return answer
        mended = {k: _text(*failed[k], "its other points were used") for k in failed.keys() - answer.missing.tolist()}
        rows = np.array([k for k in answer.missing.tolist() if k in failed], dtype=np.int64)
        baseline = np.asarray(answer.value.real, dtype=np.float64)
        if not len(rows):
            return replace(answer, repaired=dict(sorted(mended.items())))
        samples = gather_samples(waves, self.site.x, rows, len(baseline))
        ladder = Ladder(
            self.site,
            rows,
            self._steps(rows, samples, answer),
            self.stencil,
            samples,
            baseline,
            self.drifts,
            None if self.most is None else max(0, self.most - sum(len(wave.values) for wave in waves)),
        )
        yield from ladder.climb(vector=self.vector)
        return _merged(answer, ladder, mended, failed, vector=self.vector)

    def _steps(self, rows: NDArray[np.int64], samples: Samples, answer: Answer) -> Floats:
        """Signed steps to begin with, (a,); where those that were wanted had no room, those that took their place."""
        wanted = self.h[rows]
        if self.scale is not None:
            others = np.setdiff1d(self.site.moving, answer.missing)
            found = np.abs(answer.step[others]) / self.scale[others]
            return np.copysign(np.median(found) * self.scale[rows], wanted) if len(found) else wanted
        x, nearest = self.site.x[rows], samples.nearest()
        nodes = {float(direction * c) for direction, window in arrangements(self.stencil.nodes) for c in window}
        as_wanted = np.any([samples.near(x + wanted * c, np.abs(wanted))[1] for c in nodes], axis=0)
        shrunk = np.isfinite(nearest) & ~as_wanted
        return np.where(shrunk, np.copysign(nearest / float(np.abs(self.stencil.nodes).min()), wanted), wanted)


def _merged(
    answer: Answer,
    ladder: Ladder,
    mended: Mapping[int, str],
    failed: Mapping[int, tuple[complex, Failure | None]],
    *,
    vector: bool,
) -> Answer:
    """The method's answer with the ladder's components in their places.

    Nothing is known of their errors: the bars of a method hold for its own formulas.
    """
    good = np.flatnonzero([bool(how) for how in ladder.how])
    rows = ladder.rows[good]
    derivative, step = np.array(answer.derivative), answer.step.copy()
    step[rows] = ladder.step[good]
    if vector:
        derivative[:, rows] = ladder.slope[good].T
    else:
        derivative[rows] = ladder.slope[good, 0]
    texts = {int(ladder.rows[r]): _text(*failed[int(ladder.rows[r])], ladder.how[r]) for r in good.tolist()}
    still = rows[(ladder.slope[good] == 0).all(axis=1)]
    return replace(
        answer,
        derivative=derivative,
        step=step,
        missing=np.setdiff1d(answer.missing, rows),
        warnings=answer.warnings + no_movement_warnings(ladder.site.label, still, 0.0),
        repaired=dict(sorted({**mended, **texts}.items())),
    )


def _text(offset: complex, failure: Failure | None, how: str) -> str:
    """What failed first, and what was done about it."""
    size = f"{abs(offset.imag or offset.real):.3g}"
    sign = "-" if (offset.imag or offset.real) < 0 else "+"
    at = f"x {sign} {size}i" if offset.imag else f"x {sign} {size}"
    why = "" if failure is None else f" ({failure.status.word}: {_short(failure.text)})"
    return f"J failed at {at}{why}; {how}"


def _short(text: str) -> str:
    text = text.partition("; work directory ")[0]
    return text if len(text) <= _WORDS else text[: _WORDS - 3] + "..."
