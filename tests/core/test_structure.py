"""Structures of numbers: flat and back."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest

from distfd.core.structure import make_structure
from distfd.core.structure_kinds import has_names, is_structured
from distfd.errors import InputError


@dataclass
class Beam:
    width: float
    height: float
    area: float = field(init=False)

    def __post_init__(self) -> None:
        if self.width <= 0:
            raise ValueError("width")
        self.area = self.width * self.height


class Pair(NamedTuple):
    a: float
    b: Any


@dataclass
class Doubled:
    width: float

    def __post_init__(self) -> None:
        self.width = 2 * self.width


@dataclass
class Hidden:
    width: float
    height: float = field(init=False, default=3.0)
    label: str = field(init=False, default="a")


LAYERS = {"k": 2, "layer": {"w": np.arange(4.0).reshape(2, 2), "b": [1.0, np.array([5, 6])]}, "z": None}


def test_the_order_of_a_dict_is_kept_and_every_number_has_a_name() -> None:
    found = make_structure({"z": 1.0, "a": np.zeros(2), "m": {"u": 3}})
    assert found.labels == ("z", "a[0]", "a[1]", "m.u")
    assert make_structure(LAYERS).labels == (
        "k", "layer.w[0, 0]", "layer.w[0, 1]", "layer.w[1, 0]", "layer.w[1, 1]", "layer.b[0]", "layer.b[1][0]",
        "layer.b[1][1]",
    )  # fmt: skip


def test_there_and_back_also_in_another_process() -> None:
    found = pickle.loads(pickle.dumps(make_structure(LAYERS)))
    flat = found.flatten(LAYERS)
    assert flat.tolist() == [2, 0, 1, 2, 3, 1, 5, 6]
    back = found.unflatten(flat)
    assert list(back) == ["k", "layer", "z"]
    assert back["z"] is None
    assert type(back["k"]) is float
    assert back["layer"]["b"][1].tolist() == [5.0, 6.0]
    back["layer"]["w"][0, 0] = 7  # J may write to what it is given
    assert flat[1] == 0


def test_complex_numbers_come_through_for_the_complex_step() -> None:
    back = make_structure({"a": 1.0, "b": np.zeros(2)}).unflatten(np.array([1, 2j, 3]))
    assert back["a"] == 1
    assert back["b"].tolist() == [2j, 3]


@pytest.mark.parametrize(
    "x",
    [
        {"a": 1.0, "b": np.float64(2.0), "c": np.array(3.0)},
        OrderedDict(b=1.0, a=np.ones((1, 2))),
        Pair(1.0, np.zeros(2)),
        Beam(1.0, 2.0),
        [{"a": 1.0}, {"a": np.zeros(3)}],
        [np.zeros(2), np.zeros(2)],
        (1.0, np.zeros(2)),
    ],
    ids=str,
)
def test_each_kind_is_made_again_as_it_was(x: Any) -> None:
    assert is_structured(x)
    found = make_structure(x)
    again = found.unflatten(found.flatten(x))
    assert type(again) is type(x)
    assert repr(again) == repr(x)


@pytest.mark.parametrize(
    "x", [1.0, [1.0, 2], (1, 2.0), np.zeros(3), [np.float64(1), np.array(2.0)], [[1, 2], [3]], "a", None, [], [None]]
)
def test_what_numpy_takes_is_no_structure(x: Any) -> None:
    assert not is_structured(x)


def test_a_dataclass_keeps_its_checks_for_j_and_not_for_derivatives() -> None:
    found = make_structure(Beam(2.0, 3.0))
    assert found.labels == ("width", "height")
    assert found.unflatten(np.array([2.0, 4.0])).area == 8
    slope = found.arranged(np.array([-1.0, np.nan]))
    assert slope.width == -1
    assert np.isnan(slope.height)
    assert slope.area is None


def test_a_hessian_is_a_structure_of_structures() -> None:
    found = make_structure({"a": 1.0, "w": np.zeros((2, 2))})
    blocks = found.blocks(np.arange(25.0).reshape(5, 5))
    assert blocks["a"]["a"] == 0
    assert type(blocks["a"]["a"]) is float
    assert blocks["a"]["w"].tolist() == [[1, 2], [3, 4]]
    assert blocks["w"]["a"].tolist() == [[5, 10], [15, 20]]
    assert blocks["w"]["w"].shape == (2, 2, 2, 2)
    assert blocks["w"]["w"][1, 0, 0, 1] == 17
    columns = found.columns(np.arange(10.0).reshape(2, 5))
    assert columns["a"].tolist() == [0, 5]
    assert columns["w"][1].tolist() == [[6, 7], [8, 9]]


def test_bounds_and_steps_by_name() -> None:
    found = make_structure({"a": 1.0, "w": np.zeros(2), "c": {"u": 1.0}})
    inf = np.inf
    assert found.bounds({"a": (0, None), "w": (None, [1, 2])}) == [(0, inf), (-inf, 1), (-inf, 2), (-inf, inf)]
    assert found.bounds({"c": (0, 1)})[3] == (0, 1)
    assert found.bounds(({"a": 0}, {"w": 3})) == [(0, inf), (-inf, 3), (-inf, 3), (-inf, inf)]
    assert found.spread("step", {"w": 1e-3, "c": {"u": 2}}).tolist()[1:] == [1e-3, 1e-3, 2]
    assert has_names({"a": 1})
    assert has_names(({"a": 1}, {"a": 2}))
    assert not has_names([(0, 1), (None, 2)])
    for given, said in (
        ({"b": (0, 1)}, "has besides 'b'"),
        ({"a": 1.0}, "a must be a pair"),
        ({"w": (0, [1, 2, 3])}, "w must"),
    ):
        with pytest.raises(InputError, match=said):
            found.bounds(given)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ({}, "has no numbers"),
        ({"a": []}, "has no numbers"),
        ({"a": None}, "has no numbers"),
        ({"a": "b"}, "a must be a real number.*str 'b'"),
        ({"a": {"b": True}}, "a.b must be a real number.*bool True"),
        ({"a": 1j}, "a must be a real number"),
        ({"a": np.array(["x"])}, "a must be a real number"),
        ({"a": object()}, "a must be a real number"),
        ([{"a": 1.0}, "b"], r"x0\[1\] must be a real number"),
    ],
)
def test_what_cannot_be_is_told(x: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_structure(x)


def test_a_structure_that_contains_itself_is_told() -> None:
    x: dict[str, Any] = {"a": 1.0}
    x["b"] = x
    with pytest.raises(InputError, match="contains itself"):
        make_structure(x)


def test_names_that_would_be_the_same_are_written_as_in_python() -> None:
    assert make_structure({"a.b": 1.0, "a": {"b": 2.0}}).labels == ("['a.b']", "['a']['b']")
    assert make_structure({1: 1.0, "1": 2.0}).labels == ("[1]", "['1']")


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ({"a": 1.0}, "lacks 'w'"),
        ({"a": 1.0, "w": np.zeros(2), "b": 1}, "has besides 'b'"),
        ({"a": 1.0, "w": np.zeros(3)}, r"w must have shape \(2,\) \(had \(3,\)\)"),
        ([1.0, np.zeros(2)], "must be a dict"),
    ],
)
def test_another_structure_afterwards_is_told(x: Any, said: str) -> None:
    found = make_structure({"a": 1.0, "w": np.zeros(2)})
    assert found.flatten({"w": [2, 3], "a": 1}).tolist() == [1, 2, 3]  # by name, whatever the order
    with pytest.raises(InputError, match=said):
        found.flatten(x)


def test_keys_of_structures_differ_where_j_would_be_given_something_else() -> None:
    alike = [
        {"a": 1.0, "b": 2.0},
        {"b": 1.0, "a": 2.0},
        OrderedDict(a=1.0, b=2.0),
        Pair(1.0, 2.0),
        {"a": np.array(1.0), "b": 2.0},
    ]
    assert len({repr(make_structure(x).key) for x in alike}) == len(alike)
    assert make_structure({"a": 3, "b": 4}).key == make_structure({"a": 1.0, "b": 2.0}).key


def test_a_series(require_simulator: Any) -> None:
    require_simulator("pandas")
    import pandas as pd

    x = pd.Series([1.0, 2.0], index=["u", "v"], name="theta")
    found = make_structure(x)
    assert found.labels == ("u", "v")
    assert found.unflatten(found.flatten(x)).equals(x)
    assert found.flatten(x[::-1]).tolist() == [1, 2]  # by its index
    assert found.blocks(np.eye(2)).loc["u", "u"] == 1
    assert list(found.columns(np.eye(2)).columns) == ["u", "v"]
    assert make_structure({"s": x, "k": 1}).labels == ("s.u", "s.v", "k")
    with pytest.raises(InputError, match="index 'u', 'v'"):
        found.flatten(pd.Series([1.0, 2.0], index=["u", "w"]))
    with pytest.raises(InputError, match="name 'u' twice"):
        make_structure(pd.Series([1.0, 2.0], index=["u", "u"]))


def test_a_class_that_changes_its_numbers_is_refused_as_j_would_get_another_x() -> None:
    with pytest.raises(InputError, match=r"x0: a Doubled that is made with width = 2\.0 has 4\.0 there.*give a dict"):
        make_structure(Doubled(1.0))
    with pytest.raises(InputError, match=r"made with spring\.width = 2\.0 has 4\.0"):
        make_structure({"spring": Doubled(1.0)})


def test_a_number_that_is_no_argument_and_was_changed_is_refused() -> None:
    x = Hidden(1.0)
    assert make_structure(x).labels == ("width",)
    x.height = 5.0
    with pytest.raises(
        InputError, match=r"x0: height is no argument of Hidden, which sets it to float 3\.0, and not to"
    ):
        make_structure(x)


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (np.ma.array([1.0, 2.0], mask=[False, True]), "some of its entries are masked"),
        (10**400, "too large"),
        (np.array(["1", "2"], dtype=object), "a str is no real number"),
        (object(), "a object is no real number"),
    ],
)
def test_a_part_that_is_no_numbers_is_told_by_its_name(given: Any, answer: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)x0: a must be a real number or an array of them \(was .*{answer}"):
        make_structure({"a": given})


def test_fractions_and_decimals_are_numbers_in_a_dict_as_in_an_array() -> None:
    found = make_structure({"a": Fraction(1, 4), "b": Decimal("1.5")})
    assert found.flatten({"a": Fraction(1, 4), "b": Decimal("1.5")}).tolist() == [0.25, 1.5]
