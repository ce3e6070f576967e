"""Attacks on what distfd reads, writes and starts: each is refused, or comes to nothing."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distfd.core.failures import EvaluationFailure, ProgramError
from distfd.errors import InputError
from distfd.evaluation.evaluator import Evaluator
from distfd.executors.ray import access_token as ray_token
from distfd.objectives.command.archive import archive_name
from distfd.objectives.command.deck_edits import EditedDeck, read_edit
from distfd.objectives.command.expression import Expression
from distfd.objectives.command.objective import CommandObjective
from distfd.objectives.command.work_folder import OUTCOME
from distfd.run_directory.directory import RunDirectory
from distfd.stores.sqlite import SQLiteStore
from distfd.workers.spool import DamagedSpoolError, read

ROOT = Path(__file__).parents[2]
SECRET = "hunter2-correct-horse"  # what must not be found
X = np.array([1.0])


def program(work: Path, code: str, **options: Any) -> CommandObjective:
    options.setdefault("outputs", {"J": {"file": "stdout", "regex": "J=(.+)"}})
    return CommandObjective(["sh", "-c", code], work=work, **options)


def failure(objective: CommandObjective) -> EvaluationFailure:
    with pytest.raises(ProgramError) as caught:
        objective.make().evaluate(X, timeout=60)
    return caught.value


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- what is told of secrets


@pytest.mark.parametrize("where", ["pass_env", "env"])
@pytest.mark.parametrize("code", ["echo $KEY >&2; exit 1", "echo $KEY; exit 1", "echo J=$KEY", "kill -9 $$ # $KEY"])
def test_what_a_program_prints_of_a_secret_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, code: str
) -> None:
    monkeypatch.setenv("KEY", SECRET)
    options: dict[str, Any] = {"pass_env": ["KEY"]} if where == "pass_env" else {"env": {"KEY": SECRET}}
    objective = program(tmp_path, code, **options)
    with pytest.raises(EvaluationFailure) as caught:
        objective.make().evaluate(X, timeout=60)
    told = f"{caught.value!r} {caught.value} {caught.value.detail} {objective!r} {objective.fingerprint()}"
    assert SECRET not in told
    if "echo" in code:
        assert "$KEY" in told


def test_a_secret_that_fails_if_finds_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", SECRET)
    error = failure(program(tmp_path, "echo key $KEY; echo J=1", pass_env=["KEY"], fails_if="^key"))
    assert SECRET not in str(error)
    assert "matches: key $KEY" in str(error)


def test_a_secret_is_in_no_file_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", SECRET)
    outputs = {"J": {"file": "out.json", "json": "/x0"}}
    code = 'test "$KEY" && cp parameters.json out.json'
    objective = program(tmp_path / "work", code, pass_env=["KEY"], outputs=outputs, keep="all")
    store = SQLiteStore(tmp_path / "run.sqlite", fingerprint=objective.fingerprint(), names=("a",))
    with contextlib.closing(store), Evaluator(objective, executor="serial", store=store, on_failure="nan") as evaluator:
        evaluator.differentiate(X)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_short_values_are_words_and_stay(tmp_path: Path) -> None:
    assert "level 3 true" in str(failure(program(tmp_path, "echo J=level 3 true", env={"A": "3", "B": "true"})))


# --- work directories


@pytest.mark.parametrize("name", ["/etc/passwd", "../a", "a/../../b", "", ".", "a\0b", "n" * 300, "d/" + "n" * 300, 3])
def test_names_stay_in_the_work_directory(tmp_path: Path, name: Any) -> None:
    (tmp_path / "t").write_text("1")
    for options in (
        {"inputs": {name: "t"}},
        {"outputs": {"J": {"file": name, "json": "/a"}}},
        {"log": [name]},
        {"restart": [name]},
        {"stdin": name},
    ):
        with pytest.raises(InputError):
            program(tmp_path / "work", "echo J=1", base=tmp_path, **options)
    assert not (tmp_path / "work").exists()


def test_an_output_that_is_a_link_to_elsewhere_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text('{"a": 7}')
    outputs = {"J": {"file": "out.json", "json": "/a"}}
    error = failure(program(tmp_path / "w", f"ln -s {tmp_path}/elsewhere.json out.json", outputs=outputs))
    assert "it is a link that leads out of the work directory" in str(error)
    inner = program(tmp_path / "w", "echo '{\"a\": 7}' > real; ln -s real out.json", outputs=outputs)
    assert inner.make().evaluate(X) == 7.0


def test_an_output_below_a_folder_that_is_a_link_to_elsewhere_is_none(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "r.json").write_text('{"a": 7}')
    outputs = {"J": {"file": "d/r.json", "json": "/a"}}
    assert "leads out" in str(failure(program(tmp_path / "w", f"ln -s {tmp_path}/out d", outputs=outputs)))


def test_a_log_that_is_a_link_to_elsewhere_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "private").write_text(SECRET)
    error = failure(program(tmp_path / "w", f"ln -s {tmp_path}/private my.log; exit 1", log=["my.log"]))
    assert SECRET not in f"{error} {error.detail}"
    code = f"ln -s {tmp_path}/private my.log; echo J=1"
    assert program(tmp_path / "w", code, log=["my.log"], fails_if=SECRET[:7]).make().evaluate(X) == 1.0


def test_a_restart_file_that_is_a_link_to_elsewhere_is_none(tmp_path: Path) -> None:
    (tmp_path / "private").write_text(SECRET)
    objective = program(tmp_path / "w", f"ln -s {tmp_path}/private state; echo J=1", restart=["state"])
    with pytest.raises(ProgramError, match="restart file state: it is a link that leads out of the work directory"):
        objective.make().evaluate_from(X, None, timeout=60, capture=True)


def test_copied_links_are_copies(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("precious")
    (tmp_path / "alias").symlink_to("real")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "leaf").symlink_to(tmp_path / "real")
    code = "echo 1 > alias; echo 2 > tree/leaf; echo J=1"
    objective = program(tmp_path / "w", code, copy=["alias", "tree"], base=tmp_path)
    assert objective.make().evaluate(X) == 1.0
    assert (tmp_path / "real").read_text() == "precious"


def test_nothing_is_written_through_a_link_that_the_program_left(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for keep, code in (("failed", "exit 1"), ("all", "echo J=1")):
        objective = program(tmp_path / "w", f"ln -s {victim} {OUTCOME}; {code}", keep=keep)
        with pytest.raises(ProgramError) if keep == "failed" else warnings.catch_warnings():
            objective.make().evaluate(X)
        assert victim.read_text() == "precious"


def test_an_archive_unpacks_nowhere_else(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "mesh").write_text("m")
    code = f"ln -s {victim} {OUTCOME}; ln -s {tmp_path} out; ln -s ../.. up; echo 1 > real; ln -s real ok; echo J=1"
    objective = program(tmp_path / "w", code, keep="archive", archive=tmp_path / "a", link=["mesh"], base=tmp_path)
    assert objective.make().evaluate(X) == 1.0
    packed = tmp_path / "a" / archive_name(X)
    assert mode(packed) == 0o600
    with tarfile.open(packed) as archive:
        names = archive.getnames()
        assert len(set(names)) == len(names), "of two members with one name the second is written through the first"
        for member in archive:
            assert not Path(member.name).is_absolute()
            assert ".." not in Path(member.name).parts
            assert member.isfile() or member.isdir() or (member.issym() and member.linkname == "real")
        told = archive.extractfile(OUTCOME)
        assert told is not None
        assert {"mesh", "out", "up"} <= set(json.load(told)["left_out"])
    subprocess.run(["tar", "xzf", packed, "-C", tmp_path / "w"], check=True)
    assert victim.read_text() == "precious"


def test_work_directories_are_their_owners(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        failure(program(tmp_path / "w", "exit 1"))
    finally:
        os.umask(before)
    (made,) = (tmp_path / "w").iterdir()
    assert mode(made) == 0o700


def test_inputs_have_the_mode_of_what_they_are_made_of(tmp_path: Path) -> None:
    for name, octal in (("deck.j2", 0o755), ("mesh", 0o640)):
        (tmp_path / name).write_text("1")
        (tmp_path / name).chmod(octal)
    inputs = {"in/deck": "deck.j2"}
    before = os.umask(0o027)
    try:
        options: dict[str, Any] = {"inputs": inputs, "copy": ["mesh"], "base": tmp_path, "keep": "all"}
        assert program(tmp_path / "w", "echo J=1", **options).make().evaluate(X) == 1.0
    finally:
        os.umask(before)
    (made,) = (tmp_path / "w").iterdir()
    assert {name: mode(made / name) for name in ("in/deck", "mesh", "in")} == {
        "in/deck": 0o755,
        "mesh": 0o640,
        "in": 0o750,
    }


# --- the run's directory


def test_a_run_is_its_owners(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("objective: {python: 'job:f'}\nx0: [1]\noutput: run\n")
    (tmp_path / "job.py").write_text("def f(x):\n    return float(x[0])\n")
    code = (
        "import os, sys\nos.umask(0)\nfrom distfd.jobs import build\nfrom distfd.executors.serial import "
        "SerialExecutor\nbuild.make_executor = lambda *_, **__: SerialExecutor()\n"
        "from distfd.cli.commands import main\nsys.argv = ['distfd', 'run', 'job.yaml']\nmain()\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", code]
    ran = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert mode(tmp_path / "run") == 0o700
    found = {path.name: mode(path) for path in (tmp_path / "run").iterdir() if path.is_file()}
    assert {"config.yaml", "evaluations.sqlite", "result.json", "log.jsonl", "derivative.npz"} <= set(found)
    assert {name: made for name, made in found.items() if made != 0o600} == {}


def test_a_store_that_is_open_is_its_owners(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with contextlib.closing(SQLiteStore(tmp_path / "run.sqlite", fingerprint="f", names=("a",))):
            modes = {path.name: mode(path) for path in tmp_path.iterdir() if path.is_file()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}, modes


DEEP = "[" * 100_000


@pytest.mark.parametrize("text", [DEEP, "{", "[]", "null", "\xff", "1" * 5000])
def test_a_result_that_is_none_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_bytes(text.encode("latin-1"))
    assert RunDirectory(tmp_path).result() is None


@pytest.mark.parametrize("text", [DEEP, "{", "[]", "null", "cos\nsystem\n(S'id'\ntR.", '{"checksum": 1}'])
def test_a_spooled_file_that_is_none_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DamagedSpoolError):
        read(tmp_path / "x.json")


# --- what is read


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/nonexistent").exists, ())


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_no_pickle_is_read_from_an_output(tmp_path: Path, kind: str) -> None:
    trap = np.array([_Trap()], dtype=object)
    if kind == "npy":
        np.save(tmp_path / "trap", trap, allow_pickle=True)
    else:
        np.savez(tmp_path / "trap", a=trap, allow_pickle=True)
    spec: Any = 0 if kind == "npy" else {"array": "a"}
    outputs = {"J": {"file": "out", "npy": spec}}
    error = failure(program(tmp_path / "w", f"cp {tmp_path}/trap.{kind} out", outputs=outputs))
    assert "allow_pickle=False" in str(error)


def test_an_archive_of_compressed_zeros_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distfd.objectives.command.extractors.LARGEST", 1_000_000)
    content = io.BytesIO()
    np.save(content, np.zeros(1_000_000))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.npy", content.getvalue())
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000
    outputs = {"J": {"file": "out", "npy": {"array": "a", "index": 0}}}
    error = failure(program(tmp_path / "w", f"cp {tmp_path}/bomb.npz out", outputs=outputs))
    assert "its array is too large" in str(error)


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_files_that_are_edited_may_be_nested_without_end(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"deep.{suffix}").write_text("[" * 20_000 + "]" * 20_000)
    with pytest.raises(InputError, match="is not"):
        EditedDeck(read_edit(tmp_path / f"deep.{suffix}", {"/0": "a"}))


@pytest.mark.parametrize(
    "text",
    [
        "a.__class__",
        "a.real",
        "().__class__.__bases__[0].__subclasses__()",
        "getattr(a, 'real')",
        "[k for k in a]",
        "sum(k for k in a)",
        "{a: 1}",
        "(lambda: 1)()",
        "f'{a}'",
        "(a := 1)",
        "a if a else a",
        "__import__('os').system('id')",
        "eval('1')",
        "a @ a",
        "a << 99999999",
        "'a' * 999999999",
        "sum(*a)",
        "sum(**a)",
        "sqrt.__self__",
        "await a",
        "yield a",
        "...",
        "b'a'",
        "1j",
        "-" * 9_999 + "a",
        "(" * 4_000 + "a" + ")" * 4_000,
        "a**" * 3_000 + "a",
        "a+" * 4_000 + "a",
        "1" * 20_000,
    ],
    ids=lambda text: text[:24],
)
def test_expressions_are_arithmetic_and_no_more(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Expression(text, ("a",))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["9**9**9", "9**9**9**9", "a**(9**9**9)", "1e308*10", "exp(exp(exp(a)))", "-9**9**9"])
def test_expressions_end(text: str) -> None:
    assert np.isinf(Expression(text, ("a",))({"a": 9.0}))


# --- what is started


def test_no_shell_sees_an_argument(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    for bad in (f"; touch {mark}", f"$(touch {mark})", f"`touch {mark}`", f"| touch {mark}", f"&& touch {mark}\n"):
        objective = CommandObjective(
            ["printf", "J=%s", f"1{bad}"], outputs={"J": {"file": "stdout", "regex": r"J=(\d)"}}, work=tmp_path / "w"
        )
        assert objective.make().evaluate(X) == 1.0
    assert not mark.exists()


FORBIDDEN = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "eval"}
FORBIDDEN |= {"asyncio.create_subprocess_shell", "pickle.load", "pickle.Unpickler", "cloudpickle.load"}
PICKLES = {
    "workers.worker": "from another worker, by the driver",
    "objectives.simulator": "packed by the same process",
    "executors.ray.worker": "by Ray, whose token is asked for",
    "workers.exception_transport": "from a worker, by the executor that started it",
    "workers.fresh_imports": "by a fresh process of this one, in a folder that this one makes for itself alone",
    "executors.ray.module_state": "by Ray, whose token is asked for",
    "executors.ray.pickling": "by Ray, whose token is asked for",
    "executors.ray.function_calls": "by Ray, whose token is asked for",
    "workers.session_modules": "exec of the user's own module, by the text that the driver imported",
    "objectives.command.user_function": "exec of the user's own module, as an import would",
}
"""Where pickles are read, or code is run; none of it comes from a file that others write."""


def test_the_source_has_no_shell_and_no_pickle_of_a_file() -> None:
    for path in (ROOT / "distfd").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT / "distfd").with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert called not in FORBIDDEN, f"{name}: {called}"
            assert "shell" not in keywords, f"{name}: {called} with shell"
            if called in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
                assert "Safe" in ast.unparse(node), f"{name}: {ast.unparse(node)}"
            assert not called.endswith("extractall") or name == "launch.retrieved_run", (
                name
            )  # which looks at each member
            if called in ("pickle.loads", "exec", "cloudpickle.loads"):
                assert name in PICKLES, f"{name}: {called}"
            if called in ("np.load", "numpy.load"):
                assert keywords.get("allow_pickle") == "False", name


# --- Ray


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token, and no variable that says anything of one."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_token_is_its_owners_before_ray_reads_it(home: Path) -> None:
    before = os.umask(0)
    try:
        ray_token.keep_token_private()
    finally:
        os.umask(before)
    token = home / ".ray" / "auth_token"
    assert mode(token) == 0o600
    assert mode(token.parent) == 0o700
    assert len(bytes.fromhex(token.read_text())) == 32
    first = token.read_text()
    token.chmod(0o644)
    ray_token.keep_token_private()
    assert (mode(token), token.read_text()) == (0o600, first)


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_no_token_is_made_where_one_is_given(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, str(home / "mine"))
    ray_token.keep_token_private()
    assert not (home / ".ray").exists()


def test_to_turn_tokens_off_is_warned_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.warns(RuntimeWarning, match="can run code in the Ray cluster"):
        ray_token.keep_token_private()
    assert not (home / ".ray").exists()


def test_rays_folder_is_its_owners(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(home))
    monkeypatch.setattr(ray_token, "_LONGEST_FOLDER", 4000)
    own = home / f"distfd-{os.getuid()}"
    assert ray_token.private_folder() == str(own / "ray")
    assert mode(own) == 0o700
    own.chmod(0o777)
    other = ray_token.private_folder()
    assert other is not None
    assert Path(other).parent != own, "whoever was first to take the name may have left anything in it"
    assert mode(Path(other).parent) == 0o700
    own.rmdir()
    own.symlink_to("/")
    assert ray_token.private_folder() not in (None, str(own / "ray"))


@pytest.mark.slow
def test_a_private_cluster_asks_for_its_token(tmp_path: Path) -> None:
    """No dashboard, a folder of one's own, no secret in Ray's logs, and nobody without the token comes in."""
    code = """
import os, sys, time
from pathlib import Path
import distfd
from distfd.executors.ray.executor import RayExecutor
from distfd.objectives.command.objective import CommandObjective
objective = CommandObjective(["sh", "-c", 'test "$KEY" && echo J=1'], pass_env=["KEY"], work=sys.argv[1],
                             outputs={"J": {"file": "stdout", "regex": "J=(.+)"}})
with distfd.Evaluator(objective, executor=RayExecutor(address="local", num_cpus=1)) as evaluator:
    assert evaluator.value([1.0]) == 1.0
    import ray
    from ray._private.worker import _global_node as node
    titles = [Path(f"/proc/{p}/cmdline").read_bytes() for p in os.listdir("/proc") if p.isdigit() and
              Path(f"/proc/{p}/cmdline").exists()]
    assert not any(os.environ["KEY"].encode() in title for title in titles)
    print(ray.get_runtime_context().gcs_address, node.get_session_dir_path(), node.webui_url or "-", flush=True)
    sys.stdin.readline()
"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "KEY": SECRET}
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_TMPDIR"):
        environ.pop(name, None)
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "w")], env=environ, **pipes)
    try:
        address, session, dashboard = run.stdout.readline().split()  # type: ignore[union-attr]  # it is a pipe
        assert dashboard == "-"
        assert mode(Path(session).parents[1]) == 0o700
        assert mode(tmp_path / ".ray" / "auth_token") == 0o600
        join = "import ray, sys; ray.init(address=sys.argv[1], logging_level=50)"
        stranger = {**environ, "HOME": str(tmp_path / "w"), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
        refused = subprocess.run(
            [sys.executable, "-c", join, address], env=stranger, capture_output=True, timeout=120, check=False
        )
        assert refused.returncode != 0
        logs = [path for path in Path(session, "logs").rglob("*") if path.is_file()]
        assert logs
        assert not [path for path in logs if SECRET.encode() in path.read_bytes()]
    finally:
        run.communicate("\n", timeout=60)
    assert run.returncode == 0
