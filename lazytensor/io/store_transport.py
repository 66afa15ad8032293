"""One request to a remote store: how HTTP, S3 and other file systems of fsspec are asked.

fsspec's own calls hide what a reader must know: the size and the entity tag that come with every
answer (so that no question is asked twice and all parts of an object are of one content), whether a
range was honoured, and why a request failed (its HTTP ``info`` calls every failure "not found",
which would read as fill values). HTTP and S3 are therefore asked through the session that the file
system made; the others with ``_cat_file``, and are asked for the state of the object before and
after.

There is no HEAD: the first or the last bytes of an object tell as much, also where HEAD is not
allowed (signed URLs) or tells no length.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from lazytensor.io.store_retry import status_of

__all__ = ["Answer", "ChangedError", "Part", "StatusError", "Transport", "info_token", "transport"]

Part = tuple[int, int]
"""Half-open byte range; ``(-n, 0)`` is the last ``n`` bytes."""

_SMALL = 1 << 20
"""A whole object that comes where a part was asked for is read if it is no longer than this."""
_READ_AHEAD = 16 << 20
"""Bytes of an answer that may wait to be read. All of them will be, and at its 64 KiB aiohttp stops
and starts the connection so often that it takes a third of the processor time of a large read."""
_SETTLED_S = 2.0
_TOKEN_FIELDS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "md5Hash", "created")
_UNQUOTED = "/:@!$&'()*+,;=-._~"
_NO_SUCH_RANGE = 416


class Answer(NamedTuple):
    """Bytes of an object from ``start``, the size of the whole, and its token, where known.

    ``data`` is None where the server would have sent a large object whole instead of a part.
    """

    data: bytes | None
    start: int
    size: int
    token: Hashable | None


class StatusError(Exception):
    """A server answered with a status that is no success."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str]) -> None:
        super().__init__(f"HTTP status {status} {reason}".rstrip())
        self.status = status
        self.headers = headers


class ChangedError(Exception):
    """The object is no longer the one that was asked for."""


class Transport(Protocol):
    """How one file system is asked. ``pins``: every answer says which content it is of.

    ``insists``: it asks again by itself after failures that may pass, and what it raises then is
    not worth asking for again, but for a ``ConnectionResetError``.

    ``suffixes``, ``ranges``: whether the last bytes, or parts at all, can be asked for, as far as
    the answers so far show.
    """

    pins: bool
    insists: bool
    suffixes: bool
    ranges: bool

    def path(self, root: str, key: str) -> str:
        """The path of a key, as ``fetch`` takes it."""
        ...

    async def fetch(self, path: str, part: Part | None, token: Hashable | None) -> Answer:
        """A part of an object, or the whole; ``ChangedError`` if its token is not ``token``."""
        ...

    async def look(self, path: str, part: Part) -> Answer:
        """Size and token of an object, with the bytes of a part if they cost no request more."""
        ...


def transport(fs: Any) -> Transport:
    """How an asynchronous file system is asked."""
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if not protocols.isdisjoint({"http", "https"}) and hasattr(fs, "set_session"):
        return _Http(fs)
    if "s3" in protocols and hasattr(fs, "_call_s3"):
        return _S3(fs)
    return _Plain(fs)


def _range(part: Part) -> str:
    start, end = part
    return f"bytes={start}" if start < 0 else f"bytes={start}-{end - 1}"


def _content_range(text: str) -> tuple[int, int]:
    """First byte and size of the whole, of ``bytes 0-9/100`` or ``bytes */100`` (-1 if unsaid)."""
    span, _, size = text.removeprefix("bytes").strip().partition("/")
    first = span.partition("-")[0]
    return (int(first) if first.isdigit() else 0), (int(size) if size.isdigit() else -1)


def _checked(answer: Answer, token: Hashable | None) -> Answer:
    if token is not None and answer.token != token:
        raise ChangedError
    return answer


class _Http:
    pins = True
    insists = False

    def __init__(self, fs: Any) -> None:
        self._fs = fs
        self.suffixes = True
        self.ranges = True

    def path(self, root: str, key: str) -> str:
        """The key is quoted and stands before the query, which may be a signature."""
        address, mark, query = root.partition("?")
        joined = f"{address.rstrip('/')}/{quote(key, safe=_UNQUOTED)}" if key else address
        return f"{joined}{mark}{query}"

    async def look(self, path: str, part: Part) -> Answer:
        """The part itself, or the first byte where suffixes are not understood."""
        if part[0] >= 0 or self.suffixes:
            try:
                return await self.fetch(path, part, None)
            except StatusError as error:
                if part[0] >= 0 or error.status not in (400, _NO_SUCH_RANGE, 501):
                    raise
                self.suffixes = False
        return await self.fetch(path, (0, 1), None)

    async def fetch(self, path: str, part: Part | None, token: Hashable | None) -> Answer:
        """One GET."""
        fs = self._fs
        session = await fs.set_session()
        settings = {"read_bufsize": _READ_AHEAD, **fs.kwargs}
        # Ranges count the bytes as stored, not as some encoding sends them.
        headers = {**settings.pop("headers", {}), "Accept-Encoding": "identity"}
        if part is not None:
            headers["Range"] = _range(part)
        tag = token[0] if isinstance(token, tuple) else None
        # A weak tag is equal to none, by the standard's rule for If-Match.
        if isinstance(tag, str) and tag.startswith('"'):
            headers["If-Match"] = tag
        async with session.get(fs.encode_url(path), headers=headers, **settings) as reply:
            if reply.status == 412 and "If-Match" in headers:
                raise ChangedError
            if reply.status == 206 and part is not None:
                start, size = _content_range(reply.headers.get("Content-Range", ""))
                data = await reply.read()
                if size < 0:
                    raise StatusError(206, "without the size of the whole", reply.headers)
                return _checked(Answer(data, start, size, _http_token(reply.headers, size)), token)
            if reply.status == _NO_SUCH_RANGE and part is not None:
                _, size = _content_range(reply.headers.get("Content-Range", ""))
                if size >= 0:
                    return Answer(b"", 0, size, _http_token(reply.headers, size))
            if reply.status != 200:
                raise StatusError(reply.status, reply.reason or "", reply.headers)
            return _checked(await self._whole(reply, part), token)

    async def _whole(self, reply: Any, part: Part | None) -> Answer:
        """The object, sent whole, if it was asked for or is small."""
        length = reply.content_length
        # The whole is the right answer where the last n bytes of no more than n are wanted.
        if part is not None and not (part[0] < 0 and length is not None and length <= -part[0]):
            understands = reply.headers.get("Accept-Ranges") == "bytes"
            if part[0] < 0:
                self.suffixes = False
            self.ranges = self.ranges and part[0] < 0 and understands
            if length is not None and length > _SMALL:
                return Answer(None, 0, length, _http_token(reply.headers, length))
        data = await reply.read()
        return Answer(data, 0, len(data), _http_token(reply.headers, len(data)))


def _http_token(headers: Mapping[str, str], size: int) -> Hashable | None:
    tag = headers.get("ETag")
    if tag:
        return tag, size
    modified = headers.get("Last-Modified")
    if not modified:
        return None
    try:
        age = parsedate_to_datetime(headers["Date"]) - parsedate_to_datetime(modified)
    except (KeyError, ValueError, TypeError):
        return modified, size
    # It counts whole seconds: what was just written may change again under the same time.
    return (modified, size) if age.total_seconds() >= _SETTLED_S else None


class _S3:
    pins = True
    insists = True
    suffixes = True
    ranges = True

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def path(self, root: str, key: str) -> str:
        """Bucket and key."""
        return f"{root}/{key}" if key else root

    async def look(self, path: str, part: Part) -> Answer:
        """The part itself; an empty object has none, and is asked for its size."""
        try:
            return await self.fetch(path, part, None)
        except OSError as error:
            if status_of(error) != _NO_SUCH_RANGE:
                raise
        bucket, key, version = self._fs.split_path(path)
        wanted = {"VersionId": version} if version else {}
        reply = await self._fs._call_s3("head_object", Bucket=bucket, Key=key, **wanted)
        size = int(reply["ContentLength"])
        return Answer(b"", 0, size, (reply.get("ETag"), size))

    async def fetch(self, path: str, part: Part | None, token: Hashable | None) -> Answer:
        """One GetObject."""
        bucket, key, version = self._fs.split_path(path)
        wanted = {"VersionId": version} if version else {}
        if part is not None:
            wanted["Range"] = _range(part)
        if isinstance(token, tuple) and token[0]:
            wanted["IfMatch"] = token[0]
        try:
            reply = await self._fs._call_s3("get_object", Bucket=bucket, Key=key, **wanted)
        except OSError as error:
            if status_of(error) == 412:
                raise ChangedError from error
            raise
        try:
            data = await reply["Body"].read()
        # Whatever its client calls a broken transfer; nobody has asked again for this one yet.
        except Exception as error:
            raise ConnectionResetError(f"the answer broke off: {error}") from error
        finally:
            reply["Body"].close()
        start, size = 0, len(data)
        if reply.get("ContentRange"):
            start, size = _content_range(reply["ContentRange"])
        return _checked(Answer(data, start, size, (reply.get("ETag"), size)), token)


class _Plain:
    pins = False
    insists = False
    suffixes = False
    ranges = True

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def path(self, root: str, key: str) -> str:
        """Root and key."""
        return f"{root}/{key}" if root and key else root or key

    async def look(self, path: str, part: Part) -> Answer:
        """What ``info`` tells, past fsspec's cache of listings."""
        self._fs.invalidate_cache(self._fs._parent(path))
        info = await self._fs._info(path)
        if info.get("type") == "directory":
            raise FileNotFoundError(path)
        if info.get("size") is None:
            return await self.fetch(path, None, None)
        return Answer(None, 0, int(info["size"]), info_token(info))

    async def fetch(self, path: str, part: Part | None, token: Hashable | None) -> Answer:
        """``_cat_file``, which tells nothing but the bytes."""
        if part is None:
            data = await self._fs._cat_file(path)
            return Answer(data, 0, len(data), None)
        data = await self._fs._cat_file(path, start=part[0], end=part[1])
        return Answer(data, part[0], -1, None)


def info_token(info: Mapping[str, Any]) -> Hashable | None:
    """What of fsspec's description of an object changes with its content, or None.

    >>> info_token({"size": 3, "ETag": "abc"}), info_token({"size": 3})
    (('abc', 3), None)
    """
    marks = tuple(str(info[field]) for field in _TOKEN_FIELDS if info.get(field) is not None)
    return (*marks, info.get("size")) if marks else None
