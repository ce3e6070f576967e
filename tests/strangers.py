"""What a stranger may hand us, made at random from a seed: files of runs, configurations, expressions and archives.

Used by tests/faults/test_strangers.py with a fixed seed, and by scripts/fuzz_strangers.py for as long as is wanted.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import tarfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**31, 2**63, -(2**64), 10**400, 0.5, -1.5, 1e308, 5e-324, "", "x", "1", "null"),
    *(
        "\x1b[2J\x07",
        "\u202eabc",
        "a" * 3000,
        "=cmd|' /C calc'!A0",
        "../../thesis.tex",
        "/dev/zero",
        "done",
        "minimize",
    ),
    *(
        "9999-99-99T00:00:00",
        "0001-01-01T00:00:00+00:00",
        "2026-11-27T23:14:48+00:00",
        "run_started",
        "noise",
        "hessian",
    ),
    *([], {}, [[]], [None], [1, 2, 3], [[1, 2], [3]], [[1.0, 2.0, 3.0]] * 3, {"a": 1}, ["a", "b"], [{"a": {"b": []}}]),
)
NAMES = (
    *("config.yaml", "result.json", "derivative.npz", "check.json", "report.html", "derivative.csv", "evaluations.csv"),
    *("evaluations.sqlite", "evaluations.sqlite.lock", "evaluations.sqlite-wal", "evaluations.sqlite-journal"),
    *("evaluations.sqlite-shm", "iterates.jsonl", "log.jsonl", "output.log", "ray.log", "work", "archive", "spool"),
    *("result.json.part", "report.html.part", "config.yaml.part", "derivative.npz.part", "evaluations.sqlite.part"),
)
STATEMENTS = (
    "UPDATE attempts SET {column} = {value}",
    "UPDATE attempts SET {column} = {value} WHERE id = 1",
    "CREATE VIEW v{n} AS WITH RECURSIVE r(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM r) SELECT k FROM r",
    "CREATE TRIGGER t{n} BEFORE INSERT ON attempts BEGIN SELECT RAISE(IGNORE); END",
    "ALTER TABLE attempts RENAME TO a{n}",
    "ALTER TABLE attempts RENAME COLUMN {column} TO c{n}",
    "ALTER TABLE attempts ADD COLUMN c{n} AS (zeroblob(100000000))",
    "DELETE FROM meta",
    "UPDATE meta SET value = {value}",
    "DROP TABLE meta",
    "DROP VIEW evaluations",
    "DROP INDEX value_of_key",
    "CREATE INDEX i{n} ON attempts (length(zeroblob(100000000)))",
    "CREATE TABLE t{n} (a)",
    "PRAGMA application_id = 7",
    "PRAGMA user_version = 9",
)
COLUMNS = (
    "key",
    "wave",
    "point",
    "moved",
    "coordinate",
    "x",
    "attempt",
    "status",
    "value",
    "first",
    "started",
    "ended",
    "host",
    "pid",
    "slot",
    "message",
    "detail",
    "checksum",
)
VALUES = ("NULL", "'x'", "1e300", "-1", "9223372036854775807", "x'ff00'", "zeroblob(100000)", "'ok'", "''", "char(27)")


OTHERS: dict[str, Any] = {
    "consistency": {"sentence": "the derivative agrees", "coordinates": ["a"]},
    "unchecked": 2,
    "only_in_arrays": ["jacobian"],
    "outputs": ["u", "v"],
    "x0": [1.0, 2.0, 3.0],
    "value0": 2.0,
    "converged": True,
    "iterations": 3,
    "violation": 0.0,
    "start_seconds": 0.5,
    "n_failed_trials": 1,
    "scipy_message": "CONVERGENCE",
    "fit": {"findings": ["well determined"], "standard_error": [1.0] * 3, "lower": [0.0] * 3, "upper": [2.0] * 3},
    "noise": {"level": 1e-9, "status": "ok", "spacing": 1e-6, "quantum": None, "n_evaluations": 9},
}
"""Fields of result.json that the runs of other tasks have."""
TASKS = ("gradient", "jacobian", "hessian", "hvp", "minimize", "least_squares", "noise", "check", "directional")


DECKS = (
    *("{{ a }}", "v = {{ b }}", "{{ a | fmt('8.3f') }}", "{{ a | fit(8) }}", "{{ b | nastran(8) }}", "{{ x[0] }}"),
    *("{{ x[99] }}", "{{ missing }}", "{{ a }}{{ b }}", "{{ a = 2.0 }}", "{{ -a }}", "{{ a * b }}", "{{ 9**9**9 }}"),
    *("{{ a ** a ** a ** 999 }}", "{{ 'x' * 10**9 }}", "{{ 'x' | center(10**9) }}", "{{ range(10**9) | list }}"),
    *("{% for i in range(10**9) %}x{% endfor %}", "{% for i in range(9999) %}{{ a }}{% endfor %}"),
    "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 2) }}{% endmacro %}{{ m(0) }}",
    "{% set ns = namespace(t='x') %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
    *("{{ ('x' * 9999) | wordwrap(1) }}", "{{ ('a ' * 99999) | title | replace('a', 'b' * 9999) }}"),
    *("{{ lipsum(n=99999) }}", "{{ cycler }}", "{{ joiner() }}", "{{ self }}", "{{ a | fmt('99999999d') }}"),
    *("{{ a.__class__.__mro__ }}", "{{ ''.__class__.__base__.__subclasses__() }}", "{{ ''.format.__globals__ }}"),
    *("{{ '{0.__class__}'.format(a) }}", "{{ '%999999999d' % a }}", "{{ '%999999999d' | format(a) }}"),
    *("{% include '/etc/passwd' %}", "{% import 'x' as y %}", "{% extends 'deck.j2' %}", "{% raw %}", "{#", "{%", "}}"),
    *(
        "\x1b[2J{{ a }}",
        "\u202e{{ b }}",
        "{{ '\x1b[2J' }}",
        "{% if a %}",
        "{{ a | nosuch }}",
        "{{ " + "(" * 500 + " }}",
    ),
)
"""Lines of templates that are right, wrong, or never end."""


class HangError(Exception):
    """Something took longer than it may."""


COMPUTED = 5.0
"""Seconds of processor time that a case may take here: a machine that does other things too does not change it."""


ENDLESS = 30.0
"""The same for templates and measurements, whose helpers may take three a deck, or a search, until they are ended."""


@contextlib.contextmanager
def within(seconds: float, computed: float = COMPUTED) -> Iterator[None]:
    """Inside, what waits longer than the one, or computes longer than the other, is a `HangError`.

    What processes that were started have computed counts as well, once they have ended; and a hang that somebody has
    caught is one all the same.
    """
    timers = (
        (signal.ITIMER_REAL, signal.SIGALRM, f"longer than {seconds:g} s", seconds),
        (signal.ITIMER_PROF, signal.SIGPROF, f"longer than {computed:g} s of processor time", computed),
    )
    hung: list[str] = []

    def late(signum: int, frame: object) -> None:
        hung.append(next(text for _, number, text, _ in timers if number == signum))
        raise HangError(hung[-1])

    before = [signal.signal(number, late) for _, number, _, _ in timers]
    begun = sum(os.times()[:4])
    for timer, _, _, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (timer, number, _, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
    if hung:
        raise HangError(hung[0])
    if (used := sum(os.times()[:4]) - begun) > computed:
        raise HangError(f"{used:.1f} s of processor time, with those of processes that were started")


def distfd(*args: str) -> tuple[int, str]:
    """Exit code, and all that is printed, of the command line in this process."""
    from distfd.cli import terminal
    from distfd.cli.commands import app
    from distfd.cli.interrupts import guarded

    out = io.StringIO()
    state, numbers = terminal._state, (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = (state.own, state.answers, warnings.showwarning, [signal.getsignal(n) for n in numbers])
    state.own = state.answers = out
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            # A hang is to be seen as such, not as a bug that is told of.
            code = guarded(lambda: app(args, standalone_mode=False, prog_name="distfd"), debug=False)
    finally:
        state.own, state.answers, warnings.showwarning, handlers = before
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
    return code, out.getvalue()


def tree(folder: Path) -> dict[str, bytes | str]:
    """All that is below a folder, byte for byte, with modes."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = f"{path.relative_to(folder)} {path.lstat().st_mode:o} {path.lstat().st_nlink}"
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"  # noqa: PTH115
    return found


@dataclass
class Stranger:
    """Makes odd things below ``folder``, with a tree of the user's beside that must stay as it is."""

    folder: Path
    run: Path
    """A run that is in order, of which odd ones are made."""
    seed: int
    seconds: float = 60.0
    canary: Path = field(init=False)

    def __post_init__(self) -> None:
        self.canary = self.folder / "home"
        self._furnish()

    def _furnish(self) -> None:
        shutil.rmtree(self.canary, ignore_errors=True)
        (self.canary / "deep").mkdir(parents=True)
        (self.canary / "thesis.tex").write_text("the only copy\n" * 100)
        (self.canary / "deep" / "x.json").write_text("{}")
        (self.canary / "deep" / "notes.sqlite").write_bytes(b"SQLite format 3\0" + bytes(4080))
        self.before = tree(self.canary)

    def case(self, k: int, kind: str) -> None:
        """Make the k-th case of a kind, and hand it to distfd.

        Raises
        ------
        AssertionError
            With the case, if it did what nothing may do.
        """
        rng = random.Random(f"{self.seed} {kind} {k}")
        place = self.folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        told = ""
        try:
            # Templates and expressions that never end take seconds of processor time of a helper, until it is ended.
            endless = kind in ("template", "fit")
            with within(self.seconds * (3 if endless else 1), ENDLESS if endless else COMPUTED):
                told = KINDS[kind](self, rng, place) or ""
        except Exception as error:
            raise AssertionError(f"{kind} {k} of seed {self.seed}: {type(error).__name__}: {error}") from error
        where = f"{kind} {k} of seed {self.seed}: {told[-2000:]}"
        assert "bug in distfd" not in told, where
        assert "Traceback" not in told, where
        assert "HangError" not in told, where
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", told), where
        if (after := tree(self.canary)) != self.before:
            changed = sorted(name for name, _ in set(after.items()) ^ set(self.before.items()))
            self._furnish()
            raise AssertionError(f"{where}\nchanged outside: {changed}")

    def _looked_at(self, run: Path) -> str:
        told = ""
        commands = [("status", str(run)), ("report", str(run), "--csv"), ("ls", str(run.parent))]
        commands += [("status", str(run), "--json"), ("report", str(run), "--json"), ("ls", str(run), "--json")]
        commands += [("compare", str(run), str(self.run)), ("compare", str(self.run), str(run), "--json")]
        for args in commands:
            code, said = distfd(*args)
            assert code in ((0,) if args[0] == "ls" else (0, 2, 5)), (args, code, said)
            if code == 0 and args[-1] == "--json":
                _strict_json(said)
            told += said
        return told

    def _json(self, rng: random.Random, place: Path) -> str:
        run = self._copy(place)
        for name in rng.sample(("result.json", "log.jsonl", "check.json", "derivative.npz"), rng.choice((1, 1, 2))):
            path = run / name
            raw = path.read_bytes()
            as_json = path.suffix != ".npz" and rng.random() < 0.8
            path.write_bytes(_mutated_json(rng, raw) if as_json else _mutated_bytes(rng, raw))
        return self._looked_at(run)

    def _yaml(self, rng: random.Random, place: Path) -> str:
        run = self._copy(place)
        raw = (run / "config.yaml").read_bytes()
        text = rng.choice((_mutated_bytes(rng, raw), _mutated_yaml(rng, raw.decode()).encode("utf-8", "surrogatepass")))
        (run / "config.yaml").write_bytes(text)
        (place / "job.yaml").write_bytes(text)
        code, said = distfd("validate", "--no-import", str(place / "job.yaml"))
        assert code in (0, 2), (code, said)
        return said + self._looked_at(run)

    def _things(self, rng: random.Random, place: Path) -> str:
        run = self._copy(place)
        for name in rng.sample(NAMES, rng.choice((1, 1, 2, 4))):
            _put(rng, run / name, self.canary)
        if rng.random() < 0.3:
            with contextlib.suppress(OSError):
                (run / "spool").mkdir()
                (run / "spool" / f"session-{rng.getrandbits(128):032x}").symlink_to(self.canary / "deep")
        return self._looked_at(run) + self._opened(run)

    def _opened(self, run: Path) -> str:
        """What `distfd run` does with a directory before and after it evaluates."""
        from distfd.core.errors import DistfdError
        from distfd.observers.json_log import JsonLog
        from distfd.optimization.journal import Journal
        from distfd.run_directory.directory import RunDirectory
        from distfd.stores.sqlite import SQLiteStore

        directory = RunDirectory(run)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                directory.make()
                with contextlib.closing(SQLiteStore(directory.store, spool=directory.spool)) as store:
                    store.spool_place()
                    store.get(np.zeros((1, 2), np.uint64))
                    directory.write_config("x0: [1]\n")
                    directory.forget_result()
                    with JsonLog(directory.log) as log:
                        log.write("run_started", task="gradient")
                    Journal(directory.iterates, "a").start(np.zeros(1))
                    directory.write_arrays(x=np.zeros(1))
                    directory.write_result({"status": "done"})
        except DistfdError as error:
            return f"{error}\n"
        return ""

    def _store(self, rng: random.Random, place: Path) -> str:
        run = self._copy(place)
        path = run / "evaluations.sqlite"
        if rng.random() < 0.7:
            con = sqlite3.connect(path)
            for n in range(rng.choice((1, 1, 2, 3))):
                words = {"column": rng.choice(COLUMNS), "value": rng.choice(VALUES), "n": n}
                with contextlib.suppress(sqlite3.Error):
                    con.execute(rng.choice(STATEMENTS).format(**words))
            con.commit()
            con.close()
        else:
            path.write_bytes(_mutated_bytes(rng, path.read_bytes()))
        return self._looked_at(run) + self._opened(run)

    def _spool(self, rng: random.Random, place: Path) -> str:
        from distfd.core.records import Batch, Status
        from distfd.workers.spool import Spool, _checksum, file_of, leave

        run = self._copy(place)
        session = run / "spool" / f"session-{rng.getrandbits(128):032x}"
        session.mkdir(parents=True)
        keys = np.array([[5, 7]], np.uint64)
        one = (np.array([0]), np.array([Status.OK], np.uint8), np.array([1]), np.array([2.0]), np.array([1.0]))
        leave(Spool(str(session), keys), 0, Batch(*one, np.array([3.0]), np.ones(1, np.int32), "host", 1, 0, {}))
        path = file_of(session, keys[0].astype("<u8").tobytes().hex())
        if rng.random() < 0.5:
            path.write_bytes(_mutated_bytes(rng, path.read_bytes()))
        else:
            record = json.loads(path.read_text())
            record.pop("checksum")
            for name in rng.sample(sorted(record), rng.choice((1, 1, 2))):
                record[name] = rng.choice(ODD)
            path.write_text(json.dumps({**record, "checksum": _checksum(record)}))
        return self._opened(run) + self._looked_at(run)

    def _tar(self, rng: random.Random, place: Path) -> str:
        from distfd.core.errors import StoreError
        from distfd.launch.retrieved_run import unpack

        made = io.BytesIO()
        kinds = [tarfile.REGTYPE] * 6 + [tarfile.DIRTYPE] * 2
        kinds += [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
        names = (
            "a",
            "b/c",
            "./a",
            "../x",
            "/etc/x",
            "a/../b",
            ".",
            "",
            "a//b",
            "b",
            "x\x1b[2J",
            "d" * 300,
            "é",
            "a\nb",
        )
        with tarfile.open(fileobj=made, mode="w") as tar:
            for _ in range(rng.randint(1, 6)):
                info = tarfile.TarInfo(rng.choice(names))
                info.type, info.mode = rng.choice(kinds), rng.choice((0, 0o644, 0o4777))
                info.linkname = rng.choice((str(self.canary / "thesis.tex"), "../home", "a", "/"))
                info.mtime = rng.choice((0, 2**31, 1.5, 1e11))
                content = bytes(rng.randrange(2000)) if info.isreg() else b""
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        raw = made.getvalue()
        raw = gzip.compress(_mutated_bytes(rng, raw) if rng.random() < 0.4 else raw, 1)
        archive = io.BytesIO(_mutated_bytes(rng, raw) if rng.random() < 0.2 else raw)
        (place / "run.old").symlink_to(self.canary)
        (place / "run.part").mkdir()
        try:
            unpack(archive, place / "run", "job")
        except StoreError as error:
            assert not (place / "run").exists(), error  # noqa: PT017  # no test of the error
            return str(error).replace("\n", " ") if str(error).isprintable() else ""
        assert all(path.is_file() or path.is_dir() for path in (place / "run").rglob("*"))
        assert not any(path.is_symlink() for path in (place / "run").rglob("*"))
        return ""

    def _expression(self, rng: random.Random, place: Path) -> str:
        from distfd.errors import InputError
        from distfd.objectives.command.expression import Expression

        words = (
            "a",
            "b",
            "+",
            "-",
            "*",
            "**",
            "/",
            "(",
            ")",
            ",",
            "sqrt",
            "sum",
            "exp",
            "1",
            "9**9",
            "1e308",
            ".",
            "[0]",
            "__class__",
            "lambda",
            ":",
            "{",
            "}",
            "'x'",
            "if",
            "else",
            "\x1b",
            "é",
            "\n",
            "%",
            "//",
            "max",
            "~",
            "@",
        )
        text = " ".join(rng.choice(words) for _ in range(rng.randint(1, 12)))
        try:
            Expression(text, ("a", "b"))({"a": np.array([1.0, 2.0]), "b": 3.0})
        except InputError as error:
            return "" if "\x1b" in text else str(error)
        except (ValueError, TypeError, ZeroDivisionError, OverflowError, IndexError):
            return ""
        return ""

    def _template(self, rng: random.Random, place: Path) -> str:
        """A program whose deck is an odd template, in a file, an argument or its environment."""
        import yaml

        text = "\n".join(rng.choice(DECKS) for _ in range(rng.choice((1, 1, 2, 4))))
        raw = text.encode("utf-8", "surrogatepass")
        (place / "deck.j2").write_bytes(_mutated_bytes(rng, raw) if rng.random() < 0.3 else raw)
        command: dict[str, Any] = {
            "argv": ["true"],
            "inputs": {"deck.txt": "deck.j2"},
            "outputs": {"v": {"file": "deck.txt", "regex": rng.choice((r"(\S+)", r"^(a+)+$", r"v = (\S+)"))}},
        }
        if rng.random() < 0.3:
            command["argv"].append(rng.choice(DECKS))
        if rng.random() < 0.2:
            command["env"] = {"DECK": rng.choice(DECKS)}
        parameters = [{"name": "a", "value": 1.5}, {"name": "b", "value": rng.choice((0.0, -2.25, 1e-300))}]
        config = {"objective": {"command": command}, "parameters": parameters, "output": str(place / "run")}
        (place / "job.yaml").write_text(yaml.safe_dump(config, allow_unicode=False))
        name = rng.choice(("validate", "plan"))
        code, said = distfd(name, str(place / "job.yaml"))
        assert code in (0, 2), (name, code, said)
        assert not (place / "run").exists()
        return said

    def _copy(self, place: Path) -> Path:
        return Path(shutil.copytree(self.run, place / "run", symlinks=True))


KINDS: dict[str, Callable[[Stranger, random.Random, Path], str | None]] = {
    "json": Stranger._json,
    "yaml": Stranger._yaml,
    "things": Stranger._things,
    "store": Stranger._store,
    "spool": Stranger._spool,
    "tar": Stranger._tar,
    "expression": Stranger._expression,
    "template": Stranger._template,
}


def _strict_json(text: str) -> None:
    """Programs read it, and of them not all know NaN."""
    begin = text.index("{")  # warnings come before

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    json.loads(text[begin:], parse_constant=refuse)


def _put(rng: random.Random, path: Path, canary: Path) -> None:
    """Something that is no file of distfd's, under one of its names."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    kind = rng.choice(
        ("link", "link", "dangling", "loop", "device", "random", "pipe", "folder", "full", "away", "sqlite")
    )
    match kind:
        case "link":
            path.symlink_to(canary / "thesis.tex")
        case "away":
            path.symlink_to(canary / "deep")
        case "sqlite":
            path.symlink_to(canary / "deep" / "notes.sqlite")
        case "dangling":
            path.symlink_to(canary / "new")
        case "loop":
            path.symlink_to(path.name)
        case "device":
            path.symlink_to("/dev/zero")
        case "full":
            path.symlink_to("/dev/full")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
            (path / "notes").write_text("mine")
        case _:
            path.write_bytes(rng.randbytes(rng.randrange(300)))


def _mutated_bytes(rng: random.Random, raw: bytes) -> bytes:
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 3, 20))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at:]
            case 2:
                data[at:at] = rng.choice(
                    (b"\0", b"\xff", b"[" * 3000, b"1" * 5000, b"NaN", b"-Infinity", b"\x1b[2J", b"\n")
                )
            case 3:
                data[at : at + rng.randrange(50)] = b""
            case _:
                data[at:at] = data[: rng.randrange(200)]
    return bytes(data)


def _mutated_json(rng: random.Random, raw: bytes) -> bytes:
    lines = raw.decode().splitlines()
    whole = len(lines) == 1 or not raw.startswith(b'{"time"')
    texts = ["\n".join(lines)] if whole else lines
    for k in range(len(texts)) if whole else [rng.randrange(len(texts)) for _ in range(rng.choice((1, 3, 10)))]:
        document = json.loads(texts[k])
        if isinstance(document, dict) and "n_evaluations" in document and rng.random() < 0.6:
            more = rng.sample(sorted(OTHERS), rng.randint(1, len(OTHERS)))
            document |= {name: copy.deepcopy(OTHERS[name]) for name in more} | {"task": rng.choice(TASKS)}
        for _ in range(rng.choice((1, 1, 2, 4))):
            document = _mutated(rng, document)
        texts[k] = json.dumps(document)
    return ("\n".join(texts) + "\n").encode()


def _mutated(rng: random.Random, value: Any) -> Any:
    """The value with one part of it replaced, taken away, or added."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value)) if isinstance(value, dict) else rng.randrange(len(value))
        if rng.random() < 0.15:
            del value[key]
        else:
            value[key] = _mutated(rng, value[key])
        return value
    return copy.deepcopy(rng.choice(ODD))


def _mutated_yaml(rng: random.Random, text: str) -> str:
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    odd = rng.choice(
        (
            "&a [*a, *a]",
            "!!python/object/apply:os.system ['id']",
            "<<: {a: 1}",
            "[" * 200,
            "{a: {a: {a: 1}}}",
            "1e999",
            "\t",
            "'\x1b[2J'",
            '"\\e[2J"',
            "? x",
            "|\n  text",
            "2026-01-01",
            ".nan",
            "0x1F",
            "0777",
            "~",
            "- - - 1",
            "%YAML 9",
            "---",
            "@",
        )
    )
    key = lines[at].partition(":")[0]
    lines[at] = rng.choice((f"{key}: {odd}", odd, f"{lines[at]}{odd}", f"{key}:", ""))
    return "\n".join(lines) + "\n"


def main(seconds: float, seed: int) -> int:
    """Make cases until the time is up; prints each that did what nothing may do."""
    import tempfile
    import time

    bad = done = 0
    with tempfile.TemporaryDirectory() as folder:
        stranger = Stranger(Path(folder), sound_run(Path(folder) / "sound"), seed, seconds=20.0)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for kind in KINDS:
                try:
                    stranger.case(done, kind)
                except AssertionError as error:
                    bad += 1
                    print(str(error)[:1500], file=sys.stderr, flush=True)
            done += 1
    print(f"{done} cases of each of {len(KINDS)} kinds, seed {seed}: {bad} did what nothing may do")
    return bad > 0


def sound_run(path: Path) -> Path:
    """A run that is in order, with a failure, two waves and a check of the derivative."""
    from distfd.core.records import Batch, Failure, Status
    from distfd.run_directory.directory import RunDirectory
    from distfd.stores.sqlite import SQLiteStore

    run = RunDirectory(path)
    run.make()
    n = 4
    with contextlib.closing(SQLiteStore(run.store, fingerprint="f" * 64, names=("a", "b", "c"))) as store:
        status = np.array([Status.OK] * 3 + [Status.ERROR], np.uint8)
        failures = {3: Failure(Status.ERROR, "ValueError: no", "Traceback of J: no")}
        batch = Batch(
            np.arange(n),
            status,
            np.array([1, 1, 1, 0]),
            np.ones(3),
            np.full(n, 1.8e9),
            np.full(n, 1.8e9 + 2),
            np.ones(n, np.int32),
            "host",
            7,
            0,
            failures,
        )
        store.put(np.array([[k, 1] for k in range(n)], np.uint64), batch)
    time = "2027-01-15T08:00:0{}.000+00:00"
    events: list[dict[str, Any]] = [
        {"event": "run_started", "task": "gradient", "versions": {"python": "3.11"}},
        {"event": "slot_started", "slot": 0, "host": "host", "pid": 7},
        {"event": "wave_started", "task": "gradient", "n_points": 4, "n_reused": 0, "slots": 2},
        {
            "event": "attempt_failed",
            "point": "c",
            "attempt": 1,
            "status": "error",
            "cause": "ValueError: no",
            "detail": "",
            "again": False,
            "host": "host",
            "pid": 7,
        },
        {"event": "iterated", "iteration": 1, "value": 2.0, "gradient_norm": 1.0, "x": [1.0, 2.0, 3.0]},
        {"event": "waiting", "seconds": 1.5, "reason": "no slot"},
        {
            "event": "wave_ended",
            "task": "gradient",
            "n_evaluations": 4,
            "n_failed": 1,
            "wall_seconds": 2.0,
            "ideal_seconds": 1.5,
        },
        {"event": "run_ended", "status": "partial"},
    ]
    lines = [json.dumps({"time": time.format(k), **event}) for k, event in enumerate(events)]
    run.log.write_text("\n".join(lines) + "\n")
    run.write_config(
        "task: gradient\nobjective:\n  python: model:f\nparameters:\n- name: a\n  value: 1.0\n- name: b\n  value: 2.0\n"
        "- name: c\n  value: 3.0\n  lower: 0.0\nderivative:\n  scheme: forward\n  step: null\n"
        "evaluation:\n  timeout: 60\n"
    )
    run.write_result(
        {
            "task": "gradient",
            "status": "partial",
            "exit_code": 3,
            "names": ["a", "b", "c"],
            "x": [1.0, 2.0, 3.0],
            "value": 1.0,
            "derivative": [1.0, -2.5, None],
            "error": [0.1, None, None],
            "step": [1e-8, 1e-8, 1e-8],
            "scheme": "forward",
            "missing": ["c"],
            "repaired": {"b": "moved"},
            "warnings": ["look"],
            "noise": None,
            "n_reused": 0,
            "n_failed": 1,
            "n_retried": 0,
            "n_evaluations": 4,
            "ideal_seconds": 1.5,
            "slots": 2,
            "wall_seconds": 2.0,
            "efficiency": 0.75,
            "started": "2027-01-15T08:00:00+00:00",
            "message": "c is missing",
            "finished": "2027-01-15T08:00:07+00:00",
            "versions": {"python": "3.11"},
        }
    )
    steps = [1e-8, 1e-6, 1e-4]
    curve = {"step": steps, "forward": steps, "central": steps}
    curve |= {"forward_noise": steps, "central_noise": steps}
    run.write_check(
        {
            "verdict": "good",
            "message": "the derivative can be trusted",
            "advice": None,
            "noise": {"level": 1e-10, "status": "ok"},
            "components": [{"name": "a", "configured": 1.0, "known": 1.0, "bar": 0.1, "verdict": "good"}],
            "sweep": [{"name": "a", "x": 1.0, "derivative": 1.05, "error": 0.01, **curve}],
        }
    )
    run.write_arrays(derivative=np.ones(3), x=np.ones(3))
    (run.work / "evaluation-host-abcdefgh").mkdir(parents=True)
    outcome = {"status": "error", "failure": "return code 1", "ended": 1.8e9}
    (run.work / "evaluation-host-abcdefgh" / "distfd-outcome.json").write_text(json.dumps(outcome))
    return path
