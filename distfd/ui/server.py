"""The server of the local page: on 127.0.0.1 alone, for those who have its address, and for looking alone.

What keeps others out, and a run of a stranger's harmless:

- It listens on the loopback interface, and every path begins with a token of 128 random bits.
- A request that names another host is refused, so that a page of another site whose name leads here (DNS rebinding)
  gets nothing.
- No part of an address is ever joined to a path: a run is looked up among those that were found, and a file among the
  few names that a run has. Files are opened only where they are plain ones, and without following links.
- The policy allows the page's own script, style sheet and events, and nothing else; no other site may frame it.
- Only GET is answered, and nothing is written.
"""

from __future__ import annotations

import contextlib
import hmac
import math
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from distfd.core.errors import DistfdError, InputError
from distfd.core.files import open_plain
from distfd.core.printable import printable
from distfd.reporting.chart_data import chart_fields, convergence_fields
from distfd.reporting.comparison import compare_runs
from distfd.reporting.formatting import page_json
from distfd.reporting.page import LIBRARY, asset
from distfd.reporting.timeline import timeline_fields
from distfd.run_directory.listing import is_run, list_runs
from distfd.ui.attempt import attempt_fields
from distfd.ui.live import list_events, run_events
from distfd.ui.pages import SERVED, comparison_page, message_page, run_link, run_page, runs_page
from distfd.ui.run_reader import RunReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

from distfd.run_directory.listing import RunList

HOSTS = frozenset({"127.0.0.1", "localhost"})
"""Names under which a browser on this machine, or at the other end of a tunnel to it, may ask; with any port."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_HTML, _TEXT, _JSON = "text/html; charset=utf-8", "text/plain; charset=utf-8", "application/json"
_OURS = ("ui.css", "ui.js")
_REPORTS = {"page.css": "page.css", "charts.js": "charts.js", "echarts.js": LIBRARY}
"""Files that report.html has too, by their addresses."""
_STREAMS = 32
"""Pages that are kept up to date at one time."""
_CONNECTIONS = 128
"""Connections at one time, so that a process which opens more and more takes no more than so many threads."""
_CLIENT_SECONDS = 30.0
"""After which a client that sends or takes nothing is given up."""
_FAREWELL = 5.0
"""Seconds in which pages that are open get the last news when the server ends."""
_LARGEST_FILE = 256 * 2**20
_MOST_COMPARED = 10
_MOST_SLOTS = 2**31
_FRESH = 1.0
"""Seconds for which a list of runs is taken to be right."""


class PageServer:
    """Serves the runs at or below ``root`` from construction to `close`.

    Parameters
    ----------
    root : Path
        A run's directory, or a folder of runs.
    port : int
        0 for one that is free.

    Raises
    ------
    InputError
        If the port cannot be had.
    """

    def __init__(self, root: Path, *, port: int = 0) -> None:
        self.root = root.absolute()
        self.stopping = threading.Event()
        self.read_run = RunReader()
        self.streams = threading.BoundedSemaphore(_STREAMS)
        self.open_streams = 0
        self._lock = threading.Lock()
        self._listed: tuple[float, RunList] | None = None
        self._token = secrets.token_urlsafe(16)
        try:
            self._server = _Server(("127.0.0.1", port), _Handler, self)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"--port: {port} cannot be had: {getattr(error, 'strerror', None) or error}; give another, or none"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="distfd ui", daemon=True)
        self._thread.start()
        if is_run(self.root):  # there is one page, and its browser takes longer to open than the run to be read
            threading.Thread(target=self._read_ahead, name="distfd ui reads", daemon=True).start()

    def _read_ahead(self) -> None:
        with contextlib.suppress(Exception):  # whoever asks for the page is told
            self.read_run(self.root)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """What to open; whoever has it may look at the runs while this server is there."""
        return f"http://127.0.0.1:{self.port}/{self._token}/"

    def close(self) -> None:
        """Send pages that are open the last news, and stop."""
        self.stopping.set()
        end = time.monotonic() + _FAREWELL
        while self.open_streams and time.monotonic() < end:
            time.sleep(0.02)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def admits(self, token: str) -> bool:
        """Whether this is the token, in a time that does not tell how nearly it is."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())

    def runs(self) -> RunList:
        """The runs that are there.

        Raises
        ------
        InputError
            If the folder cannot be read.
        """
        with self._lock:  # many pages ask for the same
            if self._listed is None or time.monotonic() - self._listed[0] > _FRESH:
                self._listed = (time.monotonic(), list_runs(self.root))
            return self._listed[1]

    def path_of(self, name: str) -> Path | None:
        """The directory of a run of this name, of those that were found; None where there is none."""
        if is_run(self.root):
            return self.root if name == self.only else None
        return next((Path(row.path) for row in self.runs().rows if row.name == name), None)

    @property
    def only(self) -> str:
        """The name of the run, where the root is one."""
        return self.root.name or str(self.root)

    @contextlib.contextmanager
    def streaming(self) -> Iterator[bool]:
        """Inside, one page more is kept up to date; false where there are too many."""
        if not self.streams.acquire(blocking=False):
            yield False
            return
        with self._lock:
            self.open_streams += 1
        try:
            yield True
        finally:
            with self._lock:
                self.open_streams -= 1
            self.streams.release()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, place: tuple[str, int], handler: type[BaseHTTPRequestHandler], page: PageServer) -> None:
        self.page = page
        self._connections = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(place, handler)

    def server_bind(self) -> None:
        """Without a look at the name service, which may take its time, as `HTTPServer` has."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own; one connection too many is closed."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is no error to tell of."""


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "distfd", ""
    timeout = _CLIENT_SECONDS

    @property
    def _page(self) -> PageServer:
        assert isinstance(self.server, _Server), "made by it"
        return self.server.page

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as http.server calls it
        """Nothing: addresses hold the token."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """In plain words, with our own headers."""
        self._send(code, _TEXT, f"{message or code}\n")

    def do_GET(self) -> None:
        """Answer, or refuse."""
        try:
            self._answer()
        except (BrokenPipeError, ConnectionError, TimeoutError):
            self.close_connection = True
        except DistfdError as error:
            self._html(500, message_page("This cannot be shown", str(error), self._to_list()))
        except Exception as error:
            self._send(500, _TEXT, f"this is a bug in distfd: {type(error).__name__}\n")

    def _answer(self) -> None:
        if not self._is_for_us():
            self._send(403, _TEXT, "this page is for 127.0.0.1 alone\n")
            return
        asked = urlsplit(self.path)
        first, *parts = [unquote(part, errors="surrogateescape") for part in asked.path.removeprefix("/").split("/")]
        if not self._page.admits(first):
            self._send(403, _TEXT, "the address is not whole: open the one that distfd ui printed\n")
            return
        match parts:
            case [""]:
                self._root()
            case ["events"]:
                self._stream(list_events(self._page.runs, self._page.stopping))
            case [name] if name in _OURS or name in _REPORTS:
                self._own(name)
            case ["compare" | "compare.json" as name]:
                self._compare(parse_qs(asked.query).get("run", []), numbers=name == "compare.json")
            case ["runs", name, rest]:
                self._run(name, rest, parse_qs(asked.query))
            case _:
                self._send(404, _TEXT, "there is no such page\n")

    def _own(self, name: str) -> None:
        """A script or a style sheet."""
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        own = files("distfd.ui").joinpath(name)
        text = asset(_REPORTS[name]) if name in _REPORTS else own.read_text(encoding="utf-8")
        self._send(200, f"{kind}; charset=utf-8", text)

    def _is_for_us(self) -> bool:
        """Whether one host is named, and that is this machine."""
        hosts = self.headers.get_all("Host") or [""]
        return len(hosts) == 1 and (hosts[0].rpartition(":")[0] or hosts[0]) in HOSTS

    def _to_list(self) -> str:
        """The way from the address that is asked for to that of the list."""
        return "../" * (urlsplit(self.path).path.removeprefix("/").count("/") - 1)

    def _root(self) -> None:
        if is_run(self._page.root):
            self._send(302, _TEXT, "", Location=run_link(self._page.only))
        else:
            self._html(200, runs_page(self._page.runs()))

    def _run(self, name: str, rest: str, asked: dict[str, list[str]]) -> None:
        path = self._page.path_of(name)
        if path is None:
            self._html(404, message_page("This run is not there", "It may have been moved or removed.", "../../"))
        elif rest == "":
            self._html(200, run_page(path, name, self._page.read_run))
        elif rest == "events":
            self._stream(run_events(path, self._page.stopping, read=self._page.read_run))
        elif rest == "charts.json":
            self._json(chart_fields(self._page.read_run(path)))
        elif rest == "attempt.json":
            self._attempt(path, asked.get("row", [""])[0])
        elif rest == "timeline.json":
            self._timeline(path, asked)
        elif rest in SERVED:
            self._file(path / rest)
        else:
            self._send(404, _TEXT, "there is no such page\n")

    def _attempt(self, path: Path, row: str) -> None:
        """One attempt, by its row in the store."""
        known = row.isascii() and row.isdecimal() and len(row) < 16
        found = attempt_fields(self._page.read_run(path), int(row)) if known else None
        if found is None:
            self._send(404, _TEXT, "there is no such attempt\n")
        else:
            self._json(found)

    def _timeline(self, path: Path, asked: dict[str, list[str]]) -> None:
        """Bars of a part of the timeline: between two times, of some slots."""
        try:
            low, high = (float(asked[name][0]) for name in ("from", "to"))
            first, past = (int(asked[name][0]) for name in ("first", "past"))
        except (KeyError, ValueError):
            low = high = first = past = 0
        if not (0 <= low < high < math.inf and 0 <= first < past < _MOST_SLOTS):
            self._send(400, _TEXT, "from < to are seconds of running, first < past are places of slots\n")
            return
        self._json(timeline_fields(self._page.read_run(path), (low, high), (first, past)))

    def _html(self, code: int, page: str) -> None:
        """A page, in which no text of a run can turn the direction of reading."""
        self._send(code, _HTML, printable(page))

    def _json(self, fields: Any) -> None:
        self._send(200, _JSON, page_json(fields))

    def _file(self, path: Path) -> None:
        """A file of a run as text, whatever it holds; nothing in it is run by a browser."""
        try:
            with open_plain(path) as file:
                content = file.read(_LARGEST_FILE + 1)
        except OSError as error:
            self._send(404, _TEXT, f"it cannot be read: {error.strerror or 'no such file'}\n")
            return
        if len(content) > _LARGEST_FILE:
            self._send(413, _TEXT, f"it is larger than {_LARGEST_FILE // 2**20} MiB; look at {path}\n")
        elif path.suffix == ".npz":
            self._send(
                200, "application/octet-stream", content, Content_Disposition=f"attachment; filename={path.name}"
            )
        else:
            self._send(200, _TEXT, content)

    def _compare(self, names: list[str], *, numbers: bool) -> None:
        """Runs side by side, as a page, or the numbers of its chart."""
        # Names are quoted in the form as in addresses: they may be no text at all.
        names = list(dict.fromkeys(unquote(name, errors="surrogateescape") for name in names))[:_MOST_COMPARED]
        paths = [self._page.path_of(name) for name in names]
        if len(names) < 2 or None in paths:
            self._html(400, message_page("Nothing to compare", "Choose two runs or more in the list."))
            return
        known = [path for path in paths if path is not None]
        ways = [convergence_fields(self._page.read_run(path)) for path in known]
        if numbers:
            self._json({"runs": [{"name": name, "convergence": way} for name, way in zip(names, ways, strict=True)]})
            return
        query = "&".join(f"run={quote(quote(name, safe='', errors='surrogateescape'), safe='')}" for name in names)
        self._html(200, comparison_page(compare_runs(known), names, ways, query))

    def _stream(self, events: Iterator[bytes]) -> None:
        with self._page.streaming() as admitted:
            if not admitted:
                self._send(503, _TEXT, "too many pages are open: close some\n")
                return
            self._head(200, "text/event-stream; charset=utf-8", {"X-Accel-Buffering": "no"})
            for each in events:
                self.wfile.write(each)
                self.wfile.flush()

    def _send(self, code: int, kind: str, content: str | bytes, **headers: str) -> None:
        raw = content.encode(errors="replace") if isinstance(content, str) else content
        self._head(code, kind, {**headers, "Content-Length": str(len(raw))})
        self.wfile.write(raw)

    def _head(self, code: int, kind: str, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**_HEADERS, "Content-Type": kind, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
