"""The config's folder as a ConfigMap of Kubernetes, which holds files by keys that are no paths."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.launch.submission import refuse_control_characters

if TYPE_CHECKING:
    from pathlib import Path

    from distfd.launch.submission import Submission

_MOST = 900_000
"""Bytes; Kubernetes takes 1 MiB, its own words and base64 included."""
_LEFT_HERE = {"__pycache__", "runs"}


def config_map(order: Submission) -> dict[str, Any]:
    """The manifest.

    Raises
    ------
    InputError
        If the files are too large.
    """
    data, binary = {}, {}
    total = 0
    for key, path in zip(_keys(order), _files(order), strict=True):
        content = path.read_bytes()
        total += len(content)
        if total > _MOST:
            raise InputError(
                f"{order.folder} has more than {_MOST // 1000} kB, the most that Kubernetes sends along with a job; "
                "put it on the volume claim or into the image, and give its path there as launch.kuberay.folder"
            )
        try:
            data[key] = content.decode()
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(content).decode()
    wanted = order.loaded.config.launch.kuberay
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": order.name, "namespace": wanted.namespace},
        "data": data,
        **({"binaryData": binary} if binary else {}),
    }


def items(order: Submission) -> list[dict[str, str]]:
    """Which key is which file, for the volume that shows them."""
    paths = (path.relative_to(order.folder).as_posix() for path in _files(order))
    return [{"key": key, "path": path} for key, path in zip(_keys(order), paths, strict=True)]


def _keys(order: Submission) -> list[str]:
    return [f"file-{k}" for k in range(len(_files(order)))]


def _files(order: Submission) -> list[Path]:
    """All but hidden ones, and runs."""
    found = []
    for path in sorted(order.folder.rglob("*")):
        parts = path.relative_to(order.folder).parts
        hidden = any(part.startswith(".") or part in _LEFT_HERE for part in parts)
        if path.is_file() and not hidden and not path.is_relative_to(order.output):
            refuse_control_characters("a file beside the configuration", str(path))
            found.append(path)
    return found
