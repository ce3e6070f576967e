"""More of what a stranger may hand us: decks and FMUs for `init`, runs for the local page, measurements for a fit.

Importing this adds the kinds to those of `strangers`.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import shutil
import stat
import tempfile
import warnings
import zipfile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import yaml
from fmus import described
from strangers import DECKS, KINDS, ODD, Stranger, _mutated, _mutated_bytes, _put, distfd, main, tree

if TYPE_CHECKING:
    import random
    from pathlib import Path

__all__ = ["KINDS", "main"]

MARKED = (
    *("width = {{ width = 0.3 }}", "{{ a = 1e-3 }}, {{ b = -2.5 }}", "{{ a = 1 }} {{ a = 2 }}", "{{ a = nan }}"),
    *("{{ a = 1e999 }}", "{{ 'a' = 1 }}", "{{ a = }}", "{{ = 1 }}", "{{ " + "a" * 5000 + " = 1 }}", "{{ a\x1b = 1 }}"),
    *("{{ lambda = 1 }}", "{{ a = 1 | fmt('8.3f') }}", "{{ a = 1 | nosuch }}", "{{ a = " + "9" * 5000 + " }}"),
)
"""Lines of decks for `init --command`, whose numbers are marked."""

COMMANDS = (
    "true deck",
    "true",
    "",
    " ",
    "nosuch deck",
    "'",
    "true 'a b' $(id) ; id",
    "true \x1b[2J",
    "true " + "x" * 5000,
)

ENTITIES = "".join(f'<!ENTITY a{k + 1} "{f"&a{k};" * 10}">' for k in range(12))
HEADS = (
    f'<?xml version="1.0"?><!DOCTYPE fmiModelDescription [<!ENTITY a0 "ha">{ENTITIES}]>',
    '<?xml version="1.0"?><!DOCTYPE fmiModelDescription [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    '<?xml version="1.0" encoding="UTF-16"?>',
    '<?xml version="1.0" encoding="nosuch"?>',
    "\ufeff",
    "",
)
TEXTS = (
    *(
        "&a12;",
        "&e;",
        "\x1b[2J",
        "&#27;[2J",
        "\u202e",
        "../../evil",
        "a" * 5000,
        "",
        "NaN",
        "INF",
        "1e999",
        "-1",
        "x y",
    ),
    *("&#0;", "<a/>", '" start="1', "=1+1", "{{ a }}", "a: b # c", "\n- x", "9" * 5000, "&#10;&#10;output: /tmp"),
)
MEMBERS = (
    "../evil",
    "/tmp/evil",
    "resources/../../evil",
    "a\\..\\b",
    "resources//x",
    "x\x1b[2J",
    "resources",
    "r/" * 400,
)


@functools.cache
def _description(version: int) -> str:
    return described(version)


def _init(stranger: Stranger, rng: random.Random, place: Path) -> str:
    """A first configuration where other things stand under its names, for a program whose deck is odd."""
    deck = place / "deck.inp"
    if rng.random() < 0.3:
        _put(rng, deck, stranger.canary)
    else:
        text = "\n".join(rng.choice((*MARKED, *DECKS)) for _ in range(rng.randint(1, 4)))
        raw = text.encode("utf-8", "surrogatepass")
        deck.write_bytes(_mutated_bytes(rng, raw) if rng.random() < 0.4 else raw)
    for name in ("job.yaml", "deck.inp.j2", "model.py", "job_model.py", "deck.j2"):
        if rng.random() < 0.2:
            _put(rng, place / name, stranger.canary)
    before = tree(place)
    args = ["init", "--to", str(place / "job.yaml")]
    if rng.random() < 0.8:
        args += ["--command", rng.choice(COMMANDS), "--deck", str(deck)]
    code, said = distfd(*args)
    assert code in (0, 2, 5), (args, code, said)
    after = tree(place)
    assert before.items() <= after.items(), "what stood there is no more as it was"
    if code:
        assert after == before, "what is refused makes nothing"
        return said
    return said + _validated(place / "job.yaml")


def _validated(path: Path) -> str:
    told = ""
    for args in (("validate", "--no-import", str(path)), ("plan", "--no-import", str(path))):
        code, said = distfd(*args)
        assert code in (0, 2), (args, code, said)
        told += said
    return told


def _fmu(stranger: Stranger, rng: random.Random, place: Path) -> str:
    """An archive that is odd, or has an odd description."""
    path = place / "tank.fmu"
    xml = _description(rng.choice((2, 3)))
    for _ in range(rng.choice((0, 1, 1, 3))):
        at = rng.randrange(len(xml))
        begin = xml.rfind('"', 0, at)
        end = xml.find('"', at)
        if begin >= 0 and end >= 0:
            xml = xml[: begin + 1] + rng.choice(TEXTS) + xml[end:]
    if rng.random() < 0.3:
        xml = rng.choice(HEADS) + xml.partition("?>")[2]
    if rng.random() < 0.1:
        xml = xml.replace("<ModelVariables>", "<ModelVariables>" + "<a>" * 20_000)
    raw = xml.encode("utf-8", "surrogatepass")
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(path, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as z,
    ):
        warnings.simplefilter("ignore")
        for _ in range(rng.choice((1, 1, 1, 2, 0))):
            z.writestr("modelDescription.xml", _mutated_bytes(rng, raw) if rng.random() < 0.3 else raw)
        z.writestr("binaries/linux64/tank.so", b"no library")
        for _ in range(rng.choice((0, 0, 1, 2))):
            member = zipfile.ZipInfo(rng.choice((*MEMBERS, "resources/data")))
            kind = rng.choice((stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR))
            member.external_attr = (kind | 0o4777) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(member, rng.choice((b"", str(stranger.canary / "thesis.tex").encode(), bytes(70 * 2**20))))
    if rng.random() < 0.3:
        path.write_bytes(_mutated_bytes(rng, path.read_bytes()))
    if rng.random() < 0.1:
        _put(rng, path, stranger.canary)
    code, said = distfd("init", "--fmu", str(path), "--to", str(place / "job.yaml"))
    assert code in (0, 2, 5), (code, said)
    if code == 0:
        said += _validated(place / "job.yaml")
    assert {each.name for each in place.iterdir()} <= {"tank.fmu", *(("job.yaml",) if code == 0 else ())}
    return said


def _page(stranger: Stranger, rng: random.Random, place: Path) -> str:
    """An odd run, as the local page shows it; what is asked for is made up too."""
    from distfd.ui.server import PageServer

    shutil.copytree(stranger.run, place / "good", symlinks=True)
    for kind in rng.sample(("_json", "_yaml", "_things", "_store"), rng.choice((1, 1, 2))):
        shutil.rmtree(place / "run", ignore_errors=True)
        with contextlib.suppress(AssertionError):
            getattr(stranger, kind)(rng, place)  # which looks at what it makes by other commands
    own: tuple[str, ...] = (
        "",
        "charts.json",
        "attempt.json?row=0",
        "attempt.json?row=99",
        "timeline.json?from=0&to=9&first=0&past=2",
    )
    own += (
        "result.json",
        "config.yaml",
        "log.jsonl",
        "derivative.npz",
        "timeline.json?from=nan&to=inf&first=-1&past=x",
    )
    paths = ["", "runs/good/", *(f"runs/run/{name}" for name in own), "compare?run=good&run=run"]
    paths += ["compare.json?run=good&run=run", "runs/%00/", "runs/" + "%2e%2e%2f" * rng.randint(1, 9), "%ff/%fe"]
    with PageServer(place) as server:
        address = urlsplit(server.address)
        for path in paths:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            with contextlib.closing(connection):
                connection.request("GET", address.path + path)
                answer = connection.getresponse()
                content = answer.read()
            assert answer.status in (200, 302, 400, 404, 500), (path, answer.status)
            assert b"bug in distfd" not in content, (path, content)
            assert b"Traceback (most" not in content, path
            assert b"the only copy" not in content, path
    return ""


def _fit(stranger: Stranger, rng: random.Random, place: Path) -> str:
    """Measurements, standard deviations and priors of a fit, in files that are odd or none."""
    read: dict[str, Any] = rng.choice(
        (
            {"regex": rng.choice((r"(\S+)", r"^(a+)+$", "("))},
            {"csv": {"column": rng.choice(("b", 1, 9)), "row": rng.choice((1, 2, 99))}},
            {"csv": {"column": "b"}},
            {"json": rng.choice(("/a", "/b/0", "", "/" + "a/" * 999))},
            {"columns": {"line": rng.choice((1, 9, "^(a+)+$")), "from": 1, "to": 3}},
            {"npy": rng.choice((0, -1, [0, 0], 10**9))},
            {"npy": {"array": "a"}},
        )
    )
    raw = rng.choice(
        (
            b"a,b\n1,2\n3,4\n",
            b'{"a": [1.0, 2.0], "b": [3]}',
            b'{"a": ' + b"[" * 50_000,
            b"a" * 60 + b"!\n",
            b"1 2 3\n4 nan 6\n",
            b"9" * 100_000,
            b"\xff\xfe\x00",
            _array(rng, np.ones(3)),
            _array(rng, np.ones((2, 2), dtype=np.complex128)),
            _array(rng, np.array(["x"], dtype=object)),
        )
    )
    for name in ("measured", "sigma.npy", "x.npy"):
        if rng.random() < 0.2:
            _put(rng, place / name, stranger.canary)
        else:
            own = raw if name == "measured" else _array(rng, np.ones(2))
            (place / name).write_bytes(_mutated_bytes(rng, own) if rng.random() < 0.5 else own)
    command: dict[str, Any] = {
        "argv": ["true"],
        "outputs": {"v": {"file": "stdout", "regex": "(.+)"}},
        "data": {"d": {"file": "measured", **read}},
        "value": rng.choice(("v - d", ["v - d"], "v - d[0]", "d", "(v - d) / nosuch")),
        "sigma": rng.choice((None, 1.0, [1.0, 2.0], "sigma.npy", "measured", rng.choice(ODD))),
    }
    prior = {"a": {"value": 1.0, "sigma": 0.1}}
    config: dict[str, Any] = {
        "task": "least_squares",
        "objective": {"command": command},
        "parameters": [{"name": "a", "value": 1.5}, {"name": "b", "value": 0.0}],
        "minimize": {"prior": _mutated(rng, prior) if rng.random() < 0.5 else prior},
        "output": str(place / "run"),
    }
    if rng.random() < 0.2:
        config["minimize"]["sigma"] = rng.choice(("sigma.npy", *ODD))
    if rng.random() < 0.2:
        del config["parameters"]
        config |= {"x0": "x.npy", "bounds": {"lower": rng.choice(("sigma.npy", 0.0)), "upper": "measured"}}
    (place / "job.yaml").write_text(yaml.safe_dump(config, allow_unicode=False))
    told = ""
    for name in ("validate", "plan"):
        code, said = distfd(name, str(place / "job.yaml"))
        assert code in (0, 2), (name, code, said)
        told += said
    assert not os.path.lexists(place / "run")
    return told


def _array(rng: random.Random, array: Any) -> bytes:
    with tempfile.TemporaryFile() as file:
        np.save(file, array) if rng.random() < 0.8 else np.savez_compressed(file, a=array)
        file.seek(0)
        return file.read()


KINDS.update({"init": _init, "fmu": _fmu, "page": _page, "fit": _fit})
