"""Describe the errors of a download.

A message quotes a server or a library only where the text is known to hold no secrets:
the headers of a request carry the user's token.
"""

from __future__ import annotations

import errno

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from surgeon_engine.api.model_info.source_names import HubName
from surgeon_engine.base.errors import EngineError
from surgeon_engine.hub.messages import DownloadFailed

_LOG_IN = (
    "log in with `hf auth login` (or set HF_TOKEN) in a terminal and try again; "
    "Surgeon keeps no token."
)
_BUSY_STATUS = (408, 429, 500, 502, 503, 504)


def describe_failure(
    error: Exception, name: HubName, *, host: str, has_token: bool
) -> DownloadFailed:
    """Return the message for an error that ended a download.

    An error of an unexpected type is raised again.
    """
    if isinstance(error, EngineError):
        return DownloadFailed(error.message, error.hint, is_temporary=False)
    if isinstance(error, OfflineModeIsEnabled):
        return DownloadFailed(
            f"{name.display_name} cannot be downloaded: offline mode is on.",
            "Switch it off in the preferences of the window, or unset HF_HUB_OFFLINE. "
            "Or choose a model on this computer.",
            is_temporary=False,
        )
    if isinstance(error, HfHubHTTPError):
        return _describe_response(error, name, host=host, has_token=has_token)
    # The library also raises LocalEntryNotFoundError if it is offline and the file is
    # not in the cache.
    if isinstance(error, httpx2.TransportError | LocalEntryNotFoundError):
        return DownloadFailed(
            f"{host} cannot be reached: {type(error).__name__}.",
            "Check the network connection.",
            is_temporary=True,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadFailed(
            "The disk is full.",
            "Free some space, or set HF_HOME to a folder on another disk.",
            is_temporary=False,
        )
    if isinstance(error, OSError):
        reason = error.strerror or str(error).splitlines()[0]
        return DownloadFailed(
            f"{name.display_name} cannot be stored: {reason}.",
            "Try again.",
            is_temporary=True,
        )
    raise error


def _describe_response(
    error: HfHubHTTPError, name: HubName, *, host: str, has_token: bool
) -> DownloadFailed:
    if isinstance(error, GatedRepoError):
        page = f"{host}/{name.repo}"
        if has_token:
            return DownloadFailed(
                f"{name.display_name} is gated, and your account has no access to it.",
                f"Ask for access at {page}, wait until it is granted, and try again.",
                is_temporary=False,
            )
        return DownloadFailed(
            f"{name.display_name} is gated: its authors ask who uses it.",
            f"Agree to their terms at {page}, {_LOG_IN}",
            is_temporary=False,
        )
    if isinstance(error, RevisionNotFoundError):
        return DownloadFailed(
            f"{name.repo} has no revision {name.revision or 'main'}.",
            "Leave the revision out, or give a branch, a tag or a commit.",
            is_temporary=False,
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return DownloadFailed(
            f"A file of {name.display_name} was deleted from {host} during the "
            "download.",
            "Try again: its authors may have just changed it.",
            is_temporary=False,
        )
    if isinstance(error, RepositoryNotFoundError):
        private = "your account has no access to it" if has_token else _LOG_IN
        return DownloadFailed(
            f"There is no model {name.repo} at {host}, or it is private.",
            f"Check the spelling. If it is private: {private}".rstrip(".") + ".",
            is_temporary=False,
        )
    status = error.response.status_code if error.response is not None else 0
    if isinstance(error, DisabledRepoError) or status not in (401, 403, *_BUSY_STATUS):
        return DownloadFailed(
            f"{host} does not provide {name.display_name} (HTTP {status}).",
            "Check the page of the model, or choose another one.",
            is_temporary=False,
        )
    if status in _BUSY_STATUS:
        return DownloadFailed(
            f"{host} is busy or unavailable (HTTP {status}).",
            "Try again later.",
            is_temporary=True,
        )
    token = "your token is not accepted" if has_token else "you have no token"
    return DownloadFailed(
        f"{host} provides {name.display_name} to registered users only, and {token} "
        f"(HTTP {status}).",
        f"To get access, {_LOG_IN}",
        is_temporary=False,
    )
