"""S3's objects, parts and ranges, in memory and fast, for measurements alone.

It checks no signature and no checksum; it does keep the rules of parts that a plan must obey. The
tests use real servers instead. Prints its address, then serves until it is ended.
"""

import asyncio
import hashlib
import itertools
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_LEAST = 5 * 1024 * 1024
_objects: dict[str, "Object"] = {}
_uploads: dict[str, "Upload"] = {}
_scattered: list["Object"] = []
_numbers = itertools.count(1)


@dataclass
class Object:
    """An object of parts as they came: views of another object's parts cost nothing."""

    parts: list[memoryview]
    headers: dict[str, str]
    etag: str = field(default_factory=lambda: f'"{next(_numbers):032x}"')

    @property
    def size(self) -> int:
        """Return the length in bytes."""
        return sum(map(len, self.parts))

    def cut(self, begin: int, end: int) -> list[memoryview]:
        """Return a range, without copying it."""
        found, offset = [], 0
        for part in self.parts:
            if offset < end and offset + len(part) > begin:
                found.append(part[max(0, begin - offset) : end - offset])
            offset += len(part)
        return found


@dataclass
class Upload:
    """An unfinished upload: parts by number."""

    key: str
    headers: dict[str, str]
    parts: dict[int, list[memoryview]] = field(default_factory=dict)
    copied: bool = False


Answer = tuple[int, dict[str, str], list[memoryview]]


class Refused(Exception):
    """An error of S3."""


def _answer(method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:  # noqa: C901, PLR0911 - a table of calls
    url = urlsplit(target)
    key = unquote(url.path)
    query = parse_qs(url.query, keep_blank_values=True)
    kept = {
        name: value
        for name, value in headers.items()
        if name.startswith("x-amz-meta-") or name == "content-type"
    }
    if method == "POST" and "uploads" in query:
        upload_id = f"{next(_numbers):x}"
        _uploads[upload_id] = Upload(key, kept)
        return _xml(f"<R><UploadId>{upload_id}</UploadId></R>")
    if "uploadId" in query:
        upload = _uploads[query["uploadId"][0]]
        if method == "DELETE":
            del _uploads[query["uploadId"][0]]
            return 204, {}, []
        if method == "POST":
            made = _complete(upload, query["uploadId"][0])
            return _xml(f"<R><ETag>{escape(made.etag)}</ETag></R>")
        number = int(query["partNumber"][0])
        if "x-amz-copy-source" in headers:
            source = _source(headers)
            first, last = map(int, headers["x-amz-copy-source-range"][6:].split("-"))
            upload.parts[number] = source.cut(first, last + 1)
            upload.copied = True
            return _xml('<R><ETag>"copied"</ETag></R>')
        upload.parts[number] = [memoryview(body)]
        return 200, {"ETag": f'"{hashlib.md5(str(number).encode()).hexdigest()}"'}, []  # noqa: S324 - a name
    if method == "PUT":
        if "x-amz-copy-source" in headers:
            _objects[key] = made = Object(_source(headers).parts, kept)
            return _xml(f"<R><ETag>{escape(made.etag)}</ETag></R>")
        _objects[key] = made = Object([memoryview(body)], kept)
        return 200, {"ETag": made.etag}, []
    if method == "DELETE":
        _objects.pop(key, None)
        return 204, {}, []
    if "list-type" in query:
        prefix = f"{key.rstrip('/')}/{query['prefix'][0]}"
        bucket = len(key.rstrip("/")) + 1
        rows = "".join(
            f"<Contents><Key>{escape(name[bucket:])}</Key><Size>{found.size}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for name, found in sorted(_objects.items())
            if name.startswith(prefix)
        )
        return _xml(f"<R><IsTruncated>false</IsTruncated>{rows}</R>")
    if key not in _objects:
        raise Refused("NoSuchKey", 404)
    found = _objects[key]
    if headers.get("if-match", found.etag) != found.etag:
        raise Refused("PreconditionFailed", 412)
    parts, status, about = found.parts, 200, {"ETag": found.etag, **found.headers}
    if asked := re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", "")):
        parts, status = found.cut(int(asked[1]), int(asked[2]) + 1), 206
        about["Content-Range"] = f"bytes {asked[1]}-{asked[2]}/{found.size}"
    return status, about, parts


def _source(headers: dict[str, str]) -> Object:
    source = _objects.get("/" + unquote(headers["x-amz-copy-source"]).lstrip("/"))
    if source is None:
        raise Refused("NoSuchKey", 404)
    if headers.get("x-amz-copy-source-if-match", source.etag) != source.etag:
        raise Refused("PreconditionFailed", 412)
    return source


def _complete(upload: Upload, upload_id: str) -> Object:
    numbers = sorted(upload.parts)
    if any(sum(map(len, upload.parts[number])) < _LEAST for number in numbers[:-1]):
        raise Refused("EntityTooSmall", 400)
    parts = [view for number in numbers for view in upload.parts[number]]
    _objects[upload.key] = made = Object(parts, upload.headers)
    if upload.copied:
        _scattered.append(made)
    del _uploads[upload_id]
    return made


def _lay_out() -> None:
    """Copy views into bytes, since views of older archives would keep all of those in memory.

    The next request may wait for it; S3's would not.
    """
    while _scattered:
        made = _scattered.pop()
        made.parts = [memoryview(b"".join(made.parts))]


def _xml(text: str) -> Answer:
    return 200, {"Content-Type": "application/xml"}, [memoryview(text.encode())]


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            method, target, _ = line.decode().split(" ", 2)
            headers: dict[str, str] = {}
            while (line := await reader.readline()).strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            if "100-continue" in headers.get("expect", ""):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            try:
                status, about, parts = _answer(method, target, headers, body)
            except Refused as error:
                code, status = error.args
                _, about, parts = _xml(f"<Error><Code>{code}</Code></Error>")
            nbytes = 0 if status == 204 else sum(map(len, parts))
            head = "".join(f"{name}: {value}\r\n" for name, value in about.items())
            writer.write(f"HTTP/1.1 {status} X\r\n{head}Content-Length: {nbytes}\r\n\r\n".encode())
            if method != "HEAD":
                for part in parts:
                    writer.write(part)
            await writer.drain()
            _lay_out()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, limit=2**22)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
