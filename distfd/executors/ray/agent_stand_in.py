"""Stands for one of the two agents of a Ray node, each of which takes a second of processor time to start.

A program of its own, which imports nothing of distfd or Ray: ``agent_stand_in.py lazy|none COMMAND...``, COMMAND being
Ray's own for the agent. The node waits until both agents have told their ports in files.

- ``none``, for the agent of the dashboard and of metrics, which a private cluster has no use for: it tells that there
  are no ports, as Ray's own does where the packages for them are missing.
- ``lazy``, for the agent that prepares runtime environments: it listens, and becomes Ray's own (the same process, the
  same port) once somebody connects. The node tries again until that answers.

It ends with the node that has started it.
"""

from __future__ import annotations

import os
import select
import socket
import sys

PORT, NODE, SESSION, ADDRESS = "--runtime-env-agent-port=", "--node-id=", "--session-dir=", "--node-ip-address="
NO_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
LAZY_PORT = "runtime_env_agent_port"
LOOK = 1.0
"""Seconds between two looks for the node."""


def main(kind: str, command: list[str]) -> None:
    """Be the agent until the node ends or, with ``kind`` "lazy", somebody connects."""
    node = os.getppid()
    where = os.path.join(_option(command, SESSION), "{}_" + _option(command, NODE))  # noqa: PTH118  # pathlib is slow
    if kind == "none":
        for name in NO_PORTS:
            _tell(where.format(name), -1)
    listener = None
    if kind == "lazy":
        listener = _listener(_option(command, ADDRESS), int(_option(command, PORT) or 0))
        _tell(where.format(LAZY_PORT), listener.getsockname()[1])
    while os.getppid() == node:
        if listener is None:
            select.select([], [], [], LOOK)
        elif select.select([listener], [], [], LOOK)[0]:
            port = listener.getsockname()[1]
            listener.close()
            os.execv(  # noqa: S606  # Ray's own command, as it would have run it
                command[0], [f"{PORT}{port}" if part.startswith(PORT) else part for part in command]
            )


def _listener(address: str, port: int) -> socket.socket:
    """A socket at the node's address; at all of the machine's where that is none of them, as Ray's own agent has it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family)
    except OSError:
        return socket.create_server(("", port), family=family)


def _option(command: list[str], name: str) -> str:
    return next(part[len(name) :] for part in command if part.startswith(name))


def _tell(path: str, port: int) -> None:
    """Write a port into a file, which is there as a whole or not at all."""
    with open(path + ".new", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(str(port))
    os.replace(path + ".new", path)  # noqa: PTH105


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
