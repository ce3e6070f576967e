"""Values of pass_env are in nothing that is written or printed: not whole, not in parts, in no quoting."""

from __future__ import annotations

import contextlib
import html
import json
import random
import re
import shlex
import string
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import numpy as np
import pytest

from distfd.core.failures import EvaluationFailure
from distfd.errors import EvaluationError
from distfd.evaluation.evaluator import Evaluator
from distfd.objectives.command.objective import CommandObjective
from distfd.objectives.command.secrets import PART, Mask
from distfd.observers.json_log import JsonLog
from distfd.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X = np.array([1.0])
LETTERS = string.ascii_letters + string.digits + "'\"\\ /~+=:;,.{}[]()<>|&%$#@!?*-_^`é€\t"


def secret(rng: random.Random, *, lines: bool = False, length: int | None = None) -> str:
    """A random one; none of its parts is a word of distfd's."""
    n = length or rng.choice((8, 9, 12, 20, 40, 79, 90, 200, 600))
    text = "".join(rng.choice(LETTERS) for _ in range(n))
    if lines:
        text = "\n".join(text[k : k + 24] for k in range(0, n, 24))
    return text.strip("\t\n ").ljust(8, "q")


def parts(text: str) -> set[str]:
    return {text[k : k + PART] for k in range(len(text) - PART + 1)}


QUOTINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "repr": repr,
    "repr twice": lambda text: repr(repr(text)),
    "in a list": lambda text: repr([text, "it's"]),
    "json": json.dumps,
    "json as it is": lambda text: json.dumps(text, ensure_ascii=False),
    "shell": shlex.quote,
    "bytes": lambda text: repr(text.encode()),
    "blanks": lambda text: " ".join(text.split()),
    "pointer": lambda text: text.replace("~", "~0").replace("/", "~1"),
    "lines": lambda text: "\n".join(repr(line) for line in text.splitlines()),
    "path of an address": quote,
    "query of an address": lambda text: quote(text, safe=""),
    "address in small letters": lambda text: re.sub("%..", lambda escape: escape[0].lower(), quote(text, safe="!'()*")),
    "form": quote_plus,
    "page": html.escape,
    "page with numbers": lambda text: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text),
    "json of others": lambda text: json.dumps(text).replace("/", "\\/"),
    "printf %q": lambda text: re.sub(r"([^\w\s])", r"\\\1", text),
    "set -x": lambda text: text.replace("'", "'\\''"),
    "declare": lambda text: re.sub(r'(["$`\\])', r"\\\1", text),
    "table": lambda text: text.replace('"', '""'),
}


@pytest.mark.parametrize("quoting", list(QUOTINGS))
@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(k, marks=pytest.mark.nightly) for k in range(8, 20))])
def test_no_part_is_left_however_it_is_quoted_and_cut(quoting: str, seed: int) -> None:
    rng = random.Random(f"{quoting} {seed}")
    value = secret(rng, lines=seed % 2 == 0)
    mask = Mask({"\0": value}, {})
    whole = f"before {QUOTINGS[quoting](value)} after"
    hidden = {QUOTINGS[quoting](part) for part in parts(value)} | parts(value)
    for _ in range(30):
        begin, end = sorted(rng.sample(range(len(whole) + 1), 2))
        left = mask(whole[begin:end])
        assert not [part for part in hidden if len(part) >= PART and part in left and part in whole[begin:end]]
    assert mask(whole).startswith("before ")
    assert mask(whole).endswith(" after")


def test_other_text_is_left_alone() -> None:
    mask = Mask({"KEY": "hunter2-correct-horse", "PATH": "/usr/bin:/bin", "SHORT": "abcd"}, {"LIB": "/opt/solver/lib"})
    assert mask("hunter2 is correct, /usr/bin/python abc") == "hunter2 is correct, /usr/bin/python abc"
    assert mask("-hunter2-correct-horse-") == "-$KEY-"
    assert mask("hunter2-corr...") == "$KEY..."
    assert mask("xabcdx in /opt/solver/lib, not /opt/solver/li") == "x$SHORTx in $LIB, not /opt/solver/li"
    lines = Mask({"KEY": "abcde\n12345678"}, {})
    assert lines("abcde, (1234567) and <12345678>") == "abcde, (1234567) and <$KEY>"
    assert mask("") == ""
    assert Mask({}, {})("text") == "text"
    assert (
        mask("50%25 of a+b; it''s &amp; \\$HOME \"\" é%C3%A9%ff") == "50%25 of a+b; it''s &amp; \\$HOME \"\" é%C3%A9%ff"
    )
    assert mask("é%C3%A9 hunter2%2Dcorrect%2dhorse%C3%A9, é") == "é%C3%A9 $KEY%C3%A9, é"


def emits(code: str) -> dict[str, Any]:
    return {"argv": ["sh", "-c", code], "outputs": {"J": {"file": "stdout", "regex": "J=(.+)"}}}


CASES: dict[str, dict[str, Any]] = {
    "stderr": emits('printf %s "$KEY" >&2; exit 1'),
    "stdout after much": emits('for k in 1 2 3 4 5; do printf "%01000d" 0; done; printf %s "$KEY"; exit 1'),
    "no number": emits('printf "J=%s" "$KEY"'),
    "a number and more": emits('printf "J=1.5%s\\n" "$KEY"'),
    "fails_if": {**emits('printf "key %s\\nJ=1\\n" "$KEY"'), "fails_if": "^key"},
    "a tail that begins in one": emits('k=0; while [ $k -lt 400 ]; do printf "%s " "$KEY"; k=$((k+1)); done; exit 2'),
    "columns": {
        "argv": ["sh", "-c", 'printf "%s and more and more and more and more\\n" "$KEY"'],
        "outputs": {"J": {"file": "stdout", "columns": {"line": 1, "from": 3, "to": 30}}},
    },
    "json text": {
        "argv": ["python3", "-c", "import json, os; json.dump({'a': os.environ['KEY']}, open('o', 'w'))"],
        "outputs": {"J": {"file": "o", "json": "/a"}},
    },
    "json key": {
        "argv": ["python3", "-c", "import json, os; json.dump({os.environ['KEY']: {'b': 1}}, open('o', 'w'))"],
        "outputs": {"J": {"file": "o", "json": "/b"}},
    },
    "json list": {
        "argv": ["python3", "-c", "import json, os; json.dump({'a': [os.environ['KEY']] * 3}, open('o', 'w'))"],
        "outputs": {"J": {"file": "o", "json": "/a"}},
    },
    "csv": {
        "argv": [
            "python3",
            "-c",
            "import csv, os; csv.writer(open('o', 'w')).writerows([[os.environ['KEY'], 'a'], [1, 2]])",
        ],
        "outputs": {"J": {"file": "o", "csv": {"column": "b", "row": 1}}},
    },
    "csv cell": {
        "argv": ["python3", "-c", "import csv, os; csv.writer(open('o', 'w')).writerows([['a'], [os.environ['KEY']]])"],
        "outputs": {"J": {"file": "o", "csv": {"column": "a", "row": 1}}},
    },
    "npy": {
        "argv": [
            "python3",
            "-c",
            "import os; open('o', 'wb').write(b'\\x93NUMPY\\x01\\x00\\x76\\x02' + os.environb[b'KEY'] * 9)",
        ],
        "outputs": {"J": {"file": "o", "npy": 0}},
    },
    "a file's name": {
        "argv": ["python3", "-c", "import os; open(os.environ['KEY'].replace('/', '_')[:80], 'w')"],
        "outputs": {"J": {"file": "o", "json": "/a"}},
    },
    "a log": {
        "argv": ["python3", "-c", "import os; open('my.log', 'w').write(repr(os.environ['KEY'])); os.abort()"],
        "outputs": {"J": {"file": "o", "json": "/a"}},
        "log": ["my.log"],
    },
    "traceback": {
        "argv": ["python3", "-c", "import os; raise ValueError(os.environ['KEY'])"],
        "outputs": {"J": {"file": "stdout", "regex": "J=(.+)"}},
    },
    "value": {**emits("echo J=1"), "value": "J / (J - J)"},
    "an address": {
        "argv": [
            "python3",
            "-c",
            "import os, urllib.parse as u; raise OSError('http://lic/?key=' + u.quote(os.environ['KEY'], safe=''))",
        ],
        "outputs": {"J": {"file": "stdout", "regex": "J=(.+)"}},
    },
    "set -x": {
        "argv": ["bash", "-c", 'set -x; printf "J=%q" "$KEY"'],
        "outputs": {"J": {"file": "stdout", "regex": "J=(.+)"}},
    },
}


@pytest.mark.parametrize("kind", list(CASES))
@pytest.mark.parametrize("lines", [False, True])
def test_no_part_is_in_what_is_told_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, lines: bool
) -> None:
    rng = random.Random(f"{kind} {lines}")
    value = secret(rng, lines=lines, length=rng.choice((14, 65, 79, 150)))
    monkeypatch.setenv("KEY", value)
    objective = CommandObjective(**CASES[kind], pass_env=["KEY"], work=tmp_path / "work", names=["a"])
    with pytest.raises(EvaluationFailure) as caught:
        objective.make().evaluate(X, timeout=60)
    told = [str(caught.value), repr(caught.value), caught.value.detail, repr(objective), str(objective.fingerprint())]
    told += traceback.format_exception(caught.value)
    store = SQLiteStore(tmp_path / "run.sqlite", fingerprint=objective.fingerprint(), names=("a",))
    options: dict[str, Any] = {"executor": "serial", "store": store, "on_failure": "nan"}
    with contextlib.closing(store), JsonLog(tmp_path / "log.jsonl") as log:
        evaluator = Evaluator(objective, observers=[log], **options)
        with evaluator, pytest.raises(EvaluationError, match="J failed") as failed:
            evaluator.gradient(X)
    told += traceback.format_exception(failed.value)
    shown = (value, quote(value, safe=""), QUOTINGS["printf %q"](value))
    hidden = {part for text in shown for line in (text, *text.splitlines()) for part in parts(line) if part.strip()}
    for path in tmp_path.rglob("*"):
        # The program's own files stay as it wrote them; those that distfd wrote are looked at.
        if path.is_file() and (
            path.parent == tmp_path or path.name in ("distfd-outcome.json", "rerun.sh", "parameters.json")
        ):
            told.append(path.read_bytes().decode("utf-8", "replace"))
    text = "\n".join(told).replace(str(tmp_path), "")
    # What distfd says of itself may have a part in common, such as eight blanks.
    ours = "".join(c for c in text if c)
    found = [part for part in hidden if part in ours]
    assert found == []
    if kind not in ("value", "a file's name", "npy", "csv", "json key"):
        assert "$KEY" in text
