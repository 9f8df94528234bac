"""Requests to the Hub, which may be a mirror that is broken or hostile.

A redirect may lead to another server, as the Hub's own do, but the user's access token
goes to the Hub alone, and a protected connection never becomes an open one. Bodies are
read up to a limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx2
import msgspec
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

from surgeon_engine.base.decoding import decode_json
from surgeon_engine.base.errors import DownloadError
from surgeon_engine.base.sentences import say

_REDIRECTS = 5
_TIMEOUT = httpx2.Timeout(30.0)  # seconds without a byte
_JSON_BYTES = 64 * 2**20
# The headers that tell the library which error it is.
_ERROR_HEADERS = ("X-Error-Code", "X-Error-Message")
_MIRROR = say("If HF_ENDPOINT names a mirror, unset it. Else try again later.")

_T = TypeVar("_T")


@contextmanager
def open_url(
    url: str, start: int = 0, timeout: httpx2.Timeout = _TIMEOUT
) -> Iterator[httpx2.Response]:
    """Open an address of the Hub, from byte `start` on; the body is yet to be read.

    Raises:
        DownloadError: A redirect leads where it must not.
        HfHubHTTPError: The server refuses.
        httpx2.TransportError: The server cannot be reached.
    """
    hub, session = httpx2.URL(url), get_session()
    # Compressed bytes could be many more than their size says.
    headers = build_hf_headers() | {"accept-encoding": "identity"}
    if start:
        headers["range"] = f"bytes={start}-"
    target = hub
    for _ in range(_REDIRECTS + 1):
        if _server(target) != _server(hub):
            headers.pop("authorization", None)
        with session.stream(
            "GET", target, headers=headers, follow_redirects=False, timeout=timeout
        ) as response:
            if not response.has_redirect_location:
                _raise_for_status(response)
                yield response
                return
            target = _redirected(target, response.headers["location"])
    raise DownloadError(
        "{host} redirects more than {most} times.",
        _MIRROR,
        host=hub.host,
        most=_REDIRECTS,
    )


def read_json(
    url: str,
    expected: type[_T],
    timeout: httpx2.Timeout = _TIMEOUT,
) -> _T:
    """Return the JSON at an address of the Hub.

    Raises:
        DownloadError: It is not the JSON of an `expected`.
        HfHubHTTPError: The server refuses.
        httpx2.TransportError: The server cannot be reached.
    """
    host, body = httpx2.URL(url).host, bytearray()
    with open_url(url, timeout=timeout) as response:
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > _JSON_BYTES:
                raise DownloadError(
                    "{host} sends an answer of more than {limit:,} bytes.",
                    _MIRROR,
                    host=host,
                    limit=_JSON_BYTES,
                )
    try:
        return decode_json(bytes(body), expected)
    except msgspec.MsgspecError as error:
        raise DownloadError(
            "{host} does not give a valid answer: {error:clause}.",
            _MIRROR,
            host=host,
            error=error,
        ) from error


def _redirected(source: httpx2.URL, location: str) -> httpx2.URL:
    try:
        target = source.join(location)
    except (httpx2.InvalidURL, ValueError) as error:
        raise DownloadError(
            "{host} redirects to an address that is not valid.",
            _MIRROR,
            host=source.host,
        ) from error
    allowed = ("https",) if source.scheme == "https" else ("http", "https")
    if target.scheme not in allowed:
        schemes = ", ".join(f"{scheme}:" for scheme in allowed)
        raise DownloadError(
            "{host} redirects to an address that begins with {scheme}:, not with "
            "{allowed}.",
            _MIRROR,
            host=source.host,
            scheme=target.scheme,
            allowed=schemes,
        )
    return target


def _raise_for_status(response: httpx2.Response) -> None:
    """Raise the library's error for a status, without reading a body of any size."""
    known = {name: response.headers.get(name) for name in _ERROR_HEADERS}
    headers = {name: value for name, value in known.items() if value is not None}
    hf_raise_for_status(
        httpx2.Response(response.status_code, headers=headers, request=response.request)
    )


def _server(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
