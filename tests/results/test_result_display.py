"""Results as tables in terminals and notebooks."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from solving import rosenbrock, trigonometric

import distfd

X = np.array([0.3, -1.2, 2.0])


def result(fun: Any = rosenbrock, x: Any = X, **options: Any) -> distfd.DerivativeResult:
    return distfd.differentiate(fun, x, executor="serial", **options)


def table(text: str) -> list[str]:
    """The lines between the headline and the notes."""
    return text.split("\n\n")[1].splitlines()


def test_a_gradient_is_an_aligned_table() -> None:
    found = result(names=["mass", "x", "a_long_name"], step="auto")
    text = str(found)
    assert text == repr(found)
    assert text.splitlines()[0].startswith(f"gradient (3) by auto, J = {found.value:.10g}, |g| = ")
    head, *rows = table(text)
    assert head.split() == ["name", "x", "dJ/dx", "error", "step"]
    assert len({len(row) for row in [head, *rows]}) == 1
    assert [row.split()[:2] for row in rows] == [["mass", "0.3"], ["x", "-1.2"], ["a_long_name", "2"]]
    assert [float(row.split()[2]) for row in rows] == pytest.approx(found.derivative, rel=1e-7)
    assert f"{found.n_evaluations} evaluations, 0 reused, 0 failed" in text.splitlines()[-1]


def test_of_a_long_gradient_the_ends_are_shown() -> None:
    rows = table(str(result(lambda x: float(x.sum()), np.arange(1000.0))))[1:]
    assert len(rows) == 19
    assert rows[12] == "... 982 more ..."
    assert rows[13].split()[0] == "x994"


def failing(x: Any) -> float:
    if x[1] != X[1]:
        raise ValueError
    return float(x.sum())


def test_what_is_missing_is_said() -> None:
    text = str(result(failing, on_failure="nan", names=["a", "b", "c"]))
    assert table(text)[2].split()[2] == "missing"
    assert "missing, as J failed there: b" in text
    assert "1 failed" in text


KINDS: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "jacobian": (trigonometric, {"kind": "jacobian"}, ["name", "x", "dJ0/dx", "dJ1/dx", "dJ2/dx", "step"]),
    "hvp": (rosenbrock, {"kind": "hvp", "v": X}, ["name", "x", "H v", "step"]),
    "jvp": (trigonometric, {"kind": "jvp", "v": X}, ["name", "J v"]),
    "directional": (rosenbrock, {"kind": "directional", "directions": np.eye(3)[:2]}, ["name", "dJ/dt", "step"]),
    "sparse": (lambda x: x**2, {"kind": "jacobian", "sparsity": scipy.sparse.eye_array(3)}, ["output", "name"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_table(kind: str) -> None:
    fun, options, titles = KINDS[kind]
    found = result(fun, **options)
    head = table(str(found))[0]
    assert all(title in head for title in titles)
    assert "<table>" in found._repr_html_()


def test_of_many_outputs_the_first_are_shown() -> None:
    text = str(result(lambda x: np.full(9, x.sum()), kind="jacobian"))
    assert "dJ3/dx" in text
    assert "dJ4/dx" not in text
    assert "and 5 more columns" in text


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


def test_a_notebook_shows_names_as_they_are() -> None:
    html = result(names=["<script>", "a&b", "'\""])._repr_html_()
    assert Tags(html).tags == {"table", "caption", "thead", "tbody", "tr", "th", "td", "div"}
    assert "&lt;script&gt;" in html
