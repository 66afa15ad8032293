"""Which failures of a remote store pass, and how long to wait before asking again.

File systems raise what their clients raise (aiohttp, botocore, gcsfs, ...), which share no base
class and must not be imported here; errors are therefore judged by HTTP status where they carry
one, else by the names of their classes. Only what may pass by itself is asked for again: a refusal,
a wrong address or a certificate stays what it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Patience", "patiently", "shown", "status_of"]

_T = TypeVar("_T")
ATTEMPTS = 5
FIRST_PAUSE = 0.1
"""Seconds before the second attempt; each further pause is twice as long."""
LONGEST = 60.0
"""Seconds after which no further attempt begins, whatever the server asks for."""

_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_PASSING_NAMES = frozenset(
    {
        # builtins and asyncio
        "TimeoutError", "ConnectionError", "IncompleteReadError",
        # aiohttp
        "ClientConnectionError", "ClientPayloadError", "ServerTimeoutError",
        # botocore, urllib3, requests
        "HTTPClientError", "IncompleteRead", "ResponseParserError", "ProtocolError", "Timeout",
        "ChunkedEncodingError",
    }
)  # fmt: skip
_LASTING_NAMES = frozenset(
    {"ClientSSLError", "SSLError", "CertificateError", "ClientConnectorDNSError"}
)
_STATUS_FIELDS = ("status", "code", "status_code")
_USER = r"(?<=//)[^/@\s'\"]*@"
_QUERY = r"(//[^\s?'\"]*)\?[^\s'\"]+"


def shown(text: str) -> str:
    """A URL, or a text with URLs in it, without what may be secret.

    >>> shown("GET https://me:secret@host/a.zarr?sig=abc failed")
    'GET https://host/a.zarr?... failed'
    """
    return re.sub(_QUERY, r"\1?...", re.sub(_USER, "", text))


def _response(error: BaseException) -> dict[str, Any]:
    """The parsed answer that a botocore error carries."""
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error, or botocore's error behind it, carries; or None.

    >>> error = OSError("busy"); error.status = 503
    >>> status_of(error), status_of(OSError("other"))
    (503, None)
    """
    for field in _STATUS_FIELDS:  # one after the other: the older names of a status may warn
        told = getattr(error, field, None)
        if isinstance(told, int):
            return told
    cause: BaseException | None = error
    while cause is not None:
        told = _response(cause).get("ResponseMetadata", {}).get("HTTPStatusCode")
        if isinstance(told, int):
            return told
        cause = cause.__cause__
    return None


def _passes(error: BaseException) -> bool:
    status = status_of(error)
    if status is not None:
        return status in _PASSING_STATUSES
    if isinstance(getattr(error, "os_error", None), _no_such_host()):
        return False
    names = {kind.__name__ for kind in type(error).__mro__}
    return names.isdisjoint(_LASTING_NAMES) and not names.isdisjoint(_PASSING_NAMES)


def _no_such_host() -> type[OSError]:
    """The error of a lookup; imported when something failed, not with every local array."""
    from socket import gaierror

    return gaierror


def _asked_pause(error: BaseException) -> float:
    """Seconds that the server asks to wait, 0 if it does not say."""
    headers = getattr(error, "headers", None) or {}
    headers = headers or _response(error).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    text = str(headers.get("Retry-After") or headers.get("retry-after") or "").strip()
    if text.isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


class Patience:
    """The attempts at one request: ``pause`` says how long to wait after a failure.

    >>> patience = Patience()
    >>> patience.pause(ConnectionResetError()) > 0, patience.pause(ValueError()) is None
    (True, True)
    """

    __slots__ = ("_end", "_failures")

    def __init__(self) -> None:
        self._failures = 0
        self._end = time.monotonic() + LONGEST

    def pause(self, error: BaseException) -> float | None:
        """Seconds to wait before asking again; None to give up."""
        self._failures += 1
        if self._failures >= ATTEMPTS or not _passes(error):
            return None
        import random

        # Spread, so that many readers that failed together do not come back together.
        pause = FIRST_PAUSE * 2 ** (self._failures - 1) * random.uniform(0.5, 1.0)
        pause = max(pause, _asked_pause(error))
        return None if time.monotonic() + pause > self._end else pause


def patiently(call: Callable[[], _T]) -> _T:
    """What ``call`` returns, called again after failures that may pass.

    >>> patiently(lambda: 3)
    3
    """
    patience = Patience()
    while True:
        try:
            return call()
        # What a file system raises has no common base; what does not pass is raised again.
        except Exception as error:
            pause = patience.pause(error)
            if pause is None:
                raise
        time.sleep(pause)
