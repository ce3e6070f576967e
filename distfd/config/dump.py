"""A configuration as YAML that reads back to the same one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.config.yaml_scalars import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml

    from distfd.config.schema import Config

_PLAIN = re.compile(r"[A-Za-z_/][\w./-]*", re.ASCII)

_LATER = frozenset({"keep_idle", "prior", "absolute_sigma"})
"""Keys that were added after the first runs: their defaults are not written, so that finished runs stay finished."""


def dump_yaml(config: Config) -> str:
    """The whole configuration without ``launch``, with absolute paths as made by `load_config`.

    Defaults are included, except those of keys that were added after the first runs.

    ``launch`` is left out because a run that goes on in another place is still the same run.

    ``load_config`` reads the rest back to an equal `Config` from any folder. Only modules are still looked for in the
    folder of the first file.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        """Without anchors, and with quotes wherever YAML 1.1 and 1.2 might differ."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
            return True

    Dumper.add_representer(str, _represent_text)
    return yaml.dump(
        _plain(config.model_copy(update={"launch": None})),
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
        default_flow_style=False,
    )


def npy_digests(config: Config) -> str:
    """Comments with the digests of .npy and sigma files that a configuration names; empty if there are none.

    With these comments, a run with other start values, bounds or standard deviations has another text.
    """
    lines = []
    command = config.objective.command
    sigmas = (config.minimize.sigma, None if command is None else command.sigma)
    texts = [given for given in sigmas if isinstance(given, str)]
    for path in sorted({*texts, *_npy_files(_plain(config.model_copy(update={"launch": None})))}):
        with contextlib.suppress(OSError):  # the error is reported where the file is read
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            lines.append(f"# {json.dumps(path)} has the SHA-256 {digest}\n")
    return "".join(lines)


def _npy_files(value: Any) -> Iterator[str]:
    """Absolute paths of .npy files, as made by `load_config`; names of program outputs are not absolute."""
    if isinstance(value, (dict, list)):
        for inside in value.values() if isinstance(value, dict) else value:
            yield from _npy_files(inside)
    elif isinstance(value, str) and value.endswith(".npy") and Path(value).is_absolute():
        yield value


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) and isinstance(resolve(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


def _plain(value: Any) -> Any:
    """Plain dicts, lists and scalars; keys that are null because another key was chosen are left out."""
    from distfd.config.section_base import Section

    if isinstance(value, Section):
        fields = type(value).model_fields
        left_out = {name for name in _LATER & fields.keys() if getattr(value, name) == fields[name].default}
        pairs = ((field.alias or name, getattr(value, name)) for name, field in fields.items() if name not in left_out)
        return {key: _plain(inside) for key, inside in pairs if inside is not None}
    if isinstance(value, dict):
        return {key: _plain(inside) for key, inside in value.items()}
    return [_plain(inside) for inside in value] if isinstance(value, (tuple, list)) else value
