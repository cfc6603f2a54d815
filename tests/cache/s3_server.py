"""A stand-in for S3 on localhost: the few calls that a store needs, in memory, with what a real one checks. Pages are short on purpose."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

BUCKET, USER = "targets-of-tests", "tester"
PAGE = 7
"""Names that one answer to a listing holds at most."""
XML = '<?xml version="1.0" encoding="UTF-8"?>'


@dataclass
class Bucket:
    """What is stored, and what was asked."""

    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and key, or the prefix of a listing, of every request."""
    before: Callable[[str, str], bool] = lambda method, key: False
    """Called with the same before anything is done. True: nothing is, and there is no answer."""
    failures: list[int] = field(default_factory=list)
    """Status codes that the next requests get."""
    closed: bool = False
    """Kept connections get no answer any more."""
    address: str = ""

    def below(self, prefix: str) -> dict[str, str]:
        """Relative name to sha256 of every object under it."""
        found = {key: data for key, data in self.objects.items() if key.startswith(prefix)}
        return {key.removeprefix(prefix): hashlib.sha256(data).hexdigest() for key, data in sorted(found.items())}


@contextmanager
def serving(bucket: Bucket) -> Iterator[Bucket]:
    """The bucket, reachable at `bucket.address` by paths; requests that USER did not sign are refused."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def asked(self) -> None:
            if bucket.closed:
                self.close_connection = True
                return
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            name, _, key = unquote(url.path).lstrip("/").partition("/")
            what = self.command, key or query.get("prefix", "")
            bucket.asked.append(what)
            if bucket.before(*what):
                self.close_connection = True
            elif bucket.failures:
                self.reply(bucket.failures.pop(0))
            elif f"Credential={USER}/" not in (self.headers["Authorization"] or ""):
                self.fails(403, "AccessDenied")
            elif name != BUCKET:
                self.fails(404, "NoSuchBucket")
            elif body and self.headers["x-amz-content-sha256"] != hashlib.sha256(body).hexdigest():
                self.fails(400, "XAmzContentSHA256Mismatch")
            elif self.command == "PUT":
                bucket.objects[key] = body
                self.reply(200, headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
            elif self.command == "DELETE":
                bucket.objects.pop(key, None)
                self.reply(204)
            elif self.command == "POST" and "delete" in query:
                self.delete(body)
            elif key:
                self.content(bucket.objects.get(key))
            else:
                self.listing(query.get("prefix", ""), query.get("delimiter"), query.get("continuation-token", ""))

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = asked

        def content(self, data: bytes | None) -> None:
            if data is None:
                self.fails(404, "NoSuchKey")
                return
            headers = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
            wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers["Range"] or "")
            if wanted is None:
                self.reply(200, data, headers)
                return
            start = int(wanted[1]) if wanted[1] else max(0, len(data) - int(wanted[2]))
            stop = min(int(wanted[2]) + 1, len(data)) if wanted[1] and wanted[2] else len(data)
            if start >= len(data):
                self.fails(416, "InvalidRange")
            else:
                self.reply(206, data[start:stop], headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})

        def delete(self, body: bytes) -> None:
            keys = [str(each.text) for each in ElementTree.fromstring(body).iter() if each.tag.endswith("Key")]
            for key in keys:
                bucket.objects.pop(key, None)
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            self.reply(200, f"{XML}<DeleteResult>{deleted}</DeleteResult>".encode())

        def listing(self, prefix: str, delimiter: str | None, after: str) -> None:
            names = {}
            for key, data in bucket.objects.items():
                if key.startswith(prefix):
                    inside, mark, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
                    names[prefix + inside + mark if mark else key] = None if mark else len(data)
            page = sorted(name for name in names if name > after)
            more = len(page) > PAGE
            page = page[:PAGE]
            parts = [
                f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
                if names[name] is None
                else f"<Contents><Key>{escape(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>0</ETag><Size>{names[name]}</Size></Contents>"
                for name in page
            ]
            token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
            state = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            self.reply(200, f"{XML}<ListBucketResult>{state}{''.join(parts)}</ListBucketResult>".encode())

        def fails(self, status: int, code: str) -> None:
            self.reply(status, f"{XML}<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

        def reply(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    bucket.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield bucket
    finally:
        bucket.closed = True
        server.shutdown()
        thread.join()
        server.server_close()
