"""What is dumped reads back to the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from distfd.config import dump_yaml, load_config
from distfd.config.yaml_scalars import resolve

# YAML cannot carry these, and the reader refuses them.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
tricky = st.sampled_from(
    [
        "1e-6",
        "on",
        "010",
        "null",
        "~",
        "",
        "1:30",
        "<<",
        "=",
        "- a",
        "a: b",
        "#",
        "'",
        '"',
        "true",
        "0x1f",
        "a\nb",
        " a ",
        "é",
        "🙂",
        "\u2028",
        "&a",
        "*a",
        "!x",
        "%",
        "@",
        "`",
        ".inf",
        "1_000",
        "2020-01-01",
    ]
)
words = text | tricky
finite = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(10**30), 10**30)
plain = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False) | words,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(words, inside, max_size=3),
    max_leaves=8,
)
positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
names = st.lists(st.from_regex(r"\A[a-z]{4,8}_\Z"), min_size=1, max_size=4, unique=True)


@st.composite
def parameters(draw: st.DrawFn) -> list[dict[str, Any]]:
    made = []
    for name in draw(names):
        lower, value, upper = sorted(draw(st.tuples(finite, finite, finite)))
        whole = {
            "name": name,
            "value": value,
            "lower": lower,
            "upper": upper,
            "scale": draw(positive),
            "fixed": draw(st.booleans()),
        }
        kept = draw(st.sets(st.sampled_from(["lower", "upper", "scale", "fixed"])))
        made.append({key: inside for key, inside in whole.items() if key in ("name", "value") or key in kept})
    return made


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    args: dict[str, Any] = {
        "args": draw(st.lists(plain, max_size=3)),
        "kwargs": draw(st.dictionaries(words, plain, max_size=3)),
    }
    env = st.dictionaries(words.filter(lambda w: w and "=" not in w), st.none() | words, max_size=3)
    command = {
        "argv": ["solver", *draw(st.lists(words, max_size=3))],
        "env": draw(env),
        "outputs": {"a": {"file": "a", "npy": 0}, "b": {"file": "b", "columns": {"line": 1, "from": 2, "to": 3}}},
        "value": draw(st.sampled_from(["a + b", ["a - b"]])),
    }
    objective = draw(st.sampled_from([{"python": "m:f", **args}, {"simulator": "p.m:S", **args}, {"command": command}]))
    where = {"parameters": draw(parameters())} if draw(st.booleans()) else {"x0": draw(st.lists(finite, min_size=1))}
    rest = {
        "derivative": {"scheme": draw(st.sampled_from(["forward", "central4"])), "step": draw(st.none() | positive)},
        "evaluation": {
            "timeout": draw(st.none() | st.floats(0, 1e9, exclude_min=True)),
            "retries": draw(st.integers(0, 9)),
            "deterministic": draw(st.none() | st.booleans()),
        },
        "minimize": {"options": draw(st.dictionaries(words, plain, max_size=2)), "target": draw(st.none() | finite)},
        "output": draw(st.just("runs/a") | words.filter(bool)),
    }
    return {"objective": objective, **where, **{k: v for k, v in rest.items() if draw(st.booleans())}}


@settings(deadline=None)
@given(configs())
def test_round_trip(data: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first.yaml"), Path(folder, "elsewhere", "second.yaml")
        # JSON with quotes around every text and 17 digits is YAML that does not depend on the code under test.
        first.write_text(yaml_of(data))
        config = load_config(first).config
        second.parent.mkdir()
        second.write_text(dump_yaml(config))
        again = load_config(second).config
        assert again == config
        assert again.duplicates == config.duplicates
        assert dump_yaml(again) == dump_yaml(config)


def yaml_of(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{yaml_of(k)}: {yaml_of(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(yaml_of, value)) + "]"
        case str():
            return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
        case None | bool():
            return str(value).lower().replace("none", "null")
    return repr(value).replace("inf", ".inf")


@given(st.floats(allow_nan=False))
def test_floats_are_read_as_python_writes_them(value: float) -> None:
    assert resolve(repr(value).replace("inf", ".inf")) == value


@given(words)
def test_what_is_plain_to_both_versions_of_yaml_is_the_same_text(word: str) -> None:
    """Text that YAML 1.1 takes for text is text here too, but for numbers such as 1e-6 and 0o17."""
    try:
        found, expected = resolve(word), yaml.safe_load(f"- {word}")[0]
    except (ValueError, yaml.YAMLError, TypeError):
        return
    if isinstance(found, str) and isinstance(expected, str) and word == word.strip() and "\n" not in word:
        assert found == word
