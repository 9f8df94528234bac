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
from surgeon_engine.base.errors import (
    DownloadError,
    EngineError,
    TemporaryDownloadError,
)
from surgeon_engine.base.sentences import say
from surgeon_engine.runtime import fence

_LOG_IN = say(
    "log in with `hf auth login` (or set HF_TOKEN) in a terminal and try again; "
    "Surgeon keeps no token."
)
_BUSY_STATUS = (408, 429, 500, 502, 503, 504)


def describe_failure(
    error: Exception, name: HubName, *, host: str, has_token: bool
) -> EngineError:
    """Return the error to report for one that ended a download.

    An error of an unexpected type is raised again.
    """
    shown = name.display_name
    if isinstance(error, EngineError):
        return error
    if isinstance(error, OfflineModeIsEnabled):
        return DownloadError(
            "{name} cannot be downloaded: offline mode is on.",
            "Switch it off in the preferences of the window, or unset HF_HUB_OFFLINE. "
            "Or choose a model on this computer.",
            name=shown,
        )
    if isinstance(error, HfHubHTTPError):
        return _describe_response(error, name, host=host, has_token=has_token)
    # The library also raises LocalEntryNotFoundError if it is offline and the file is
    # not in the cache.
    if isinstance(error, httpx2.TransportError | LocalEntryNotFoundError):
        return TemporaryDownloadError(
            "{host} cannot be reached: {why}.",
            "Check the network connection.",
            host=host,
            why=type(error).__name__,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(
            "The disk is full.",
            "Free some space, or set HF_HOME to a folder on another disk.",
        )
    if isinstance(error, OSError):
        reason = error.strerror or fence.describe(error)
        return TemporaryDownloadError(
            "{name} cannot be stored: {reason:clause}.",
            "Try again.",
            name=shown,
            reason=reason,
        )
    raise error


def _describe_response(
    error: HfHubHTTPError, name: HubName, *, host: str, has_token: bool
) -> EngineError:
    shown = name.display_name
    if isinstance(error, GatedRepoError):
        return _describe_gate(shown, f"{host}/{name.repo}", has_token=has_token)
    if isinstance(error, RevisionNotFoundError):
        return DownloadError(
            "{repo} has no revision {revision}.",
            "Leave the revision out, or give a branch, a tag or a commit.",
            repo=name.repo,
            revision=name.revision or "main",
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return DownloadError(
            "A file of {name} was deleted from {host} during the download.",
            "Try again: its authors may have just changed it.",
            name=shown,
            host=host,
        )
    if isinstance(error, RepositoryNotFoundError):
        private = say("your account has no access to it") if has_token else _LOG_IN
        return DownloadError(
            "There is no model {repo} at {host}, or it is private.",
            "Check the spelling. If it is private: {private:clause}.",
            repo=name.repo,
            host=host,
            private=private,
        )
    return _describe_status(error, shown, host=host, has_token=has_token)


def _describe_gate(name: str, page: str, *, has_token: bool) -> EngineError:
    if has_token:
        return DownloadError(
            "{name} is gated, and your account has no access to it.",
            "Ask for access at {page}, wait until it is granted, and try again.",
            name=name,
            page=page,
        )
    return DownloadError(
        "{name} is gated: its authors ask who uses it.",
        "Agree to their terms at {page}, {log_in}",
        name=name,
        page=page,
        log_in=_LOG_IN,
    )


def _describe_status(
    error: HfHubHTTPError, name: str, *, host: str, has_token: bool
) -> EngineError:
    status = error.response.status_code if error.response is not None else 0
    is_disabled = isinstance(error, DisabledRepoError)
    if status in _BUSY_STATUS and not is_disabled:
        return TemporaryDownloadError(
            "{host} is busy or unavailable (HTTP {code}).",
            "Try again later.",
            host=host,
            code=status,
        )
    if status not in (401, 403) or is_disabled:
        return DownloadError(
            "{host} does not provide {name} (HTTP {status}).",
            "Check the page of the model, or choose another one.",
            host=host,
            name=name,
            status=status,
        )
    token = say("your token is not accepted") if has_token else say("you have no token")
    return DownloadError(
        "{host} provides {name} to registered users only, and {token} (HTTP {status}).",
        "To get access, {log_in}",
        host=host,
        name=name,
        token=token,
        status=status,
        log_in=_LOG_IN,
    )
