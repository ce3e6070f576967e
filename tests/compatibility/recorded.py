"""What of the public contract is recorded, how it is read off the present code, and what may differ from the record.

A record is made anew by ``python tests/compatibility/recorded.py``. That gives up what the earlier one held, and is for
breaks that are meant (say so in the changelog) and for additions that are to be held from now on.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[2]
NAMES, SCHEMA, HELP = HERE / "public_names.json", HERE / "schema.json", HERE / "help.json"

MODULES = {
    "distfd.errors": (
        "ClusterError",
        "ClusterLostError",
        "ConfigError",
        "DerivativeWarning",
        "DistfdError",
        "EvaluationError",
        "InputError",
        "MissingSimulatorError",
        "StoreError",
        "TimeUpError",
    ),
    "distfd.events": (
        "AttemptFailed",
        "BatchFinished",
        "Differentiated",
        "Iterated",
        "Running",
        "SlotStarted",
        "Stopped",
        "Waiting",
        "WaveEnded",
        "WaveStarted",
    ),
    "distfd.jax": ("differentiable",),
    "distfd.openmdao": ("BlackBox",),
    "distfd.optimagic": ("batch_evaluator",),
    "distfd.plot": ("convergence", "gradient", "step_sweep", "timeline"),
    "distfd.torch": ("differentiable",),
}
"""Public modules beside distfd itself, and what the documentation has users take from them."""

NEEDS = {"distfd.jax": "jax", "distfd.openmdao": "openmdao", "distfd.optimagic": "optimagic", "distfd.torch": "torch"}
"""What must be installed for a module to be imported."""


def public_names() -> dict[str, Any]:
    """Signatures of all public names: of functions, of constructors, and of what classes give."""
    import distfd

    found: dict[str, Any] = {}
    for name in distfd.__all__:
        if name != "__version__":
            found |= _described(f"distfd.{name}", getattr(distfd, name))
    for module, names in MODULES.items():
        needed = NEEDS.get(module)
        if needed is None or importlib.util.find_spec(needed) is not None:
            for name in names:
                found |= _described(f"{module}.{name}", getattr(importlib.import_module(module), name))
    return {"__all__": sorted(distfd.__all__), "signatures": found}


def accepted() -> dict[str, list[str]]:
    """What each function takes beside its own parameters, where it takes them by **."""
    evaluator = [*signature("distfd.Evaluator")]
    evaluator.remove("fun")
    found = {}
    for name in ("differentiate", "gradient", "value_and_gradient", "jacobian", "hessian", "hvp", "jvp", "directional"):
        found[f"distfd.{name}"] = evaluator
    for name in ("noise_level", "step_sweep", "check_gradient", "minimize", "least_squares"):
        found[f"distfd.{name}"] = [each for each in evaluator if each not in signature(f"distfd.{name}")]
    found["distfd.differentiate"] = [*evaluator, *_PARTICULARS]
    for name in ("differentiate", "begin", "method"):
        found[f"distfd.Evaluator.{name}"] = [*_PARTICULARS]
    # ``num_cpus`` of a RayExecutor has a parameter of its own, which is of the cluster.
    found["distfd.RayExecutor"] = ["num_gpus", "memory", "custom", "nodes", "labels"]
    return found


_PARTICULARS = ("sparsity", "v", "directions")
"""What some kinds of derivatives need."""


def signature(name: str) -> dict[str, Any]:
    """The parameters of a public callable of distfd, by name."""
    import distfd

    return dict(inspect.signature(getattr(distfd, name.removeprefix("distfd."))).parameters)


def _described(name: str, obj: Any) -> dict[str, Any]:
    if not inspect.isclass(obj):
        return {name: _parameters(obj)}
    members: dict[str, Any] = {}
    own = [each for base in obj.__mro__ if base.__module__.partition(".")[0] == "distfd" for each in vars(base)]
    for each in sorted({each for each in own if not each.startswith("_")}):
        static = inspect.getattr_static(obj, each)
        is_method = callable(getattr(obj, each)) and not isinstance(static, property)
        members[each] = _parameters(getattr(obj, each)) if is_method else "attribute"
    fields = [each for each in getattr(obj, "__dataclass_fields__", {}) if not each.startswith("_")]
    members |= dict.fromkeys(sorted(set(fields) - set(members)), "attribute")
    if isinstance(obj, type(Exception)) and issubclass(obj, BaseException):
        bases = [base.__name__ for base in obj.__mro__ if base is not object]
        return {name: {"bases": bases, "members": members}}
    made = {} if name in _MADE_BY_DISTFD else {"parameters": _parameters(obj)}
    return {name: {**made, "members": members}}


_MADE_BY_DISTFD = {"distfd.Pending", "distfd.Status", "distfd.openmdao.BlackBox"}
"""Classes whose constructors are not for users: `Evaluator.begin` gives the first, the others are their bases'."""


def _parameters(fun: Any) -> list[dict[str, str]]:
    found = []
    for each in inspect.signature(fun).parameters.values():
        told = {"name": each.name, "kind": each.kind.name}
        if each.default is not each.empty:
            told["default"] = re.sub(r" at 0x[0-9a-f]+", "", repr(each.default))
        found.append(told)
    return found


def complaints(name: str, recorded: list[dict[str, str]], present: list[dict[str, str]]) -> list[str]:
    """What has gone from a signature, or differs in it; parameters that have come must have defaults."""
    by_name = {each["name"]: each for each in present}
    found = []
    for each in recorded:
        if each["kind"] == "VAR_KEYWORD":
            continue  # keywords in its place are an extension, and what it takes is tested by giving it
        now = by_name.get(each["name"])
        if now is None:
            found.append(f"{name}: {each['name']} is gone")
        elif now != each:
            found.append(f"{name}: {each} is now {now}")
    positional = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD", "VAR_POSITIONAL")
    before = [each["name"] for each in recorded if each["kind"] in positional]
    now_positional = [each["name"] for each in present if each["kind"] in positional]
    if now_positional[: len(before)] != before:
        found.append(f"{name}: positional parameters were {before}, and are {now_positional}")
    known = {each["name"] for each in recorded}
    for each in present:
        required = "default" not in each and each["kind"] not in ("VAR_KEYWORD", "VAR_POSITIONAL")
        if each["name"] not in known and required:
            found.append(f"{name}: {each['name']} has come, and must be given")
    return found


def schema() -> Any:
    """The JSON schema of configurations as ``distfd schema`` prints it, without its words."""
    return without_words(json.loads(distfd("schema")))


_WORDS = ("description", "title")


def without_words(part: Any, *, named: bool = False) -> Any:
    """A schema without titles and descriptions, which may change; in ``properties`` these are names."""
    if isinstance(part, list):
        return [without_words(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: value
        if key in ("default", "enum", "const")
        else without_words(value, named=key in ("properties", "$defs"))
        for key, value in part.items()
        if named or key not in _WORDS
    }


def distfd(*args: str) -> str:
    """What a command prints, on a terminal of a fixed width without colours."""
    environ = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-m", "distfd", *args], env=environ, capture_output=True, text=True, check=True
    )
    return ran.stdout


def commands() -> dict[str, Any]:
    """Every command's arguments and options, read off its help."""
    top = distfd("--help")
    names = re.findall(r"^  ([a-z]+)  ", _section(top, "Commands"), re.MULTILINE)
    return {"": read_help(top)} | {name: read_help(distfd(name, "--help")) for name in names}


def read_help(text: str) -> dict[str, Any]:
    """{"arguments": {name: default}, "options": {name: {"names", "takes a value", "default"}}} of a help text."""
    usage = " ".join(text.partition("\n\n")[0].split())
    arguments = {}
    for head, body in _entries(_section(text, "Arguments")):
        name = head.split()[0]
        arguments[name] = {"optional": f"[{name}]" in usage, "default": _default(body)}
    options = {}
    for head, body in _entries(_section(text, "Options")):
        names = sorted(word.rstrip(",") for word in head.split() if word.startswith("-"))
        value = [word for word in head.split() if not word.startswith("-")]
        told = {"names": names, "takes a value": bool(value), "default": _default(body)}
        options[names[0]] = {**told, "required": "[required]" in body}
    return {"arguments": arguments, "options": options}


def _section(text: str, title: str) -> str:
    found = re.search(rf"^{title}:\n((?:  .*\n)+)", text, re.MULTILINE)
    return found.group(1) if found else ""


def _entries(section: str) -> list[tuple[str, str]]:
    """(what is to the left, its words) of each entry of a section."""
    found: list[tuple[str, str]] = []
    for line in section.splitlines():
        if re.match(r"  \S", line):
            head, _, body = line.strip().partition("  ")
            found.append((head, body.strip()))
        else:
            head, body = found[-1]
            found[-1] = (head, f"{body} {line.strip()}")
    return found


def _default(body: str) -> str | None:
    found = re.search(r"\[default: ([^\]]*)\]", body)
    return found.group(1) if found else None


def read(path: Path) -> Any:
    """A record."""
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Write all of them anew."""
    names = {**public_names(), "accepted": accepted()}
    for path, found in ((NAMES, names), (SCHEMA, schema()), (HELP, commands())):
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
