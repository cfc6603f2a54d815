"""A web server on localhost with the faults of real ones: it can drop connections, know no ranges, change a file, ignore If-Range."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Site:
    """The files that are served, the server's faults, and the requests that came."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Path to content."""
    tag: str | None = '"one"'
    date: str | None = None
    ranges: bool = True
    honours_if_range: bool = True
    sends_length: bool = True
    drops: list[int] = field(default_factory=list)
    """Bytes of the body after which each of the next answers breaks off."""
    answers: list[int] = field(default_factory=list)
    """Status codes that the next requests get, whatever they are for."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of every request."""
    address: str = ""


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """The site, reachable at `site.address`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            byte_range = self.headers["Range"]
            site.requests.append((self.path, byte_range))
            if site.answers:
                self.reply(site.answers.pop(0), b"", {})
                return
            if self.path not in site.files:
                self.reply(404, b"nothing here", {})
                return
            content = site.files[self.path]
            same = self.headers["If-Range"] in (None, site.tag, site.date) or not site.honours_if_range
            if not (byte_range and site.ranges and same):
                self.reply(200, content, {})
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", byte_range)[1])
            if start >= len(content):
                self.reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            else:
                self.reply(206, content[start:], {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"})

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            headers = (
                headers | ({"ETag": site.tag} if site.tag else {}) | ({"Last-Modified": site.date} if site.date else {})
            )
            if site.sends_length:
                headers["Content-Length"] = str(len(body))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: site.drops.pop(0)] if body and site.drops else body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
