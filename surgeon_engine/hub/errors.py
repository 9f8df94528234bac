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
from surgeon_engine.base.sentences import say
from surgeon_engine.hub.messages import DownloadFailed

_LOG_IN = say(
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
    shown = name.display_name
    if isinstance(error, EngineError):
        return DownloadFailed(error.message, error.hint, is_temporary=False)
    if isinstance(error, OfflineModeIsEnabled):
        return DownloadFailed(
            say("{name} cannot be downloaded: offline mode is on.", name=shown),
            say(
                "Switch it off in the preferences of the window, or unset "
                "HF_HUB_OFFLINE. Or choose a model on this computer."
            ),
            is_temporary=False,
        )
    if isinstance(error, HfHubHTTPError):
        return _describe_response(error, name, host=host, has_token=has_token)
    # The library also raises LocalEntryNotFoundError if it is offline and the file is
    # not in the cache.
    if isinstance(error, httpx2.TransportError | LocalEntryNotFoundError):
        return DownloadFailed(
            say(
                "{host} cannot be reached: {why}.", host=host, why=type(error).__name__
            ),
            say("Check the network connection."),
            is_temporary=True,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadFailed(
            say("The disk is full."),
            say("Free some space, or set HF_HOME to a folder on another disk."),
            is_temporary=False,
        )
    if isinstance(error, OSError):
        reason = error.strerror or str(error).splitlines()[0]
        return DownloadFailed(
            say("{name} cannot be stored: {reason:clause}.", name=shown, reason=reason),
            say("Try again."),
            is_temporary=True,
        )
    raise error


def _describe_response(
    error: HfHubHTTPError, name: HubName, *, host: str, has_token: bool
) -> DownloadFailed:
    shown = name.display_name
    if isinstance(error, GatedRepoError):
        return _describe_gate(shown, f"{host}/{name.repo}", has_token=has_token)
    if isinstance(error, RevisionNotFoundError):
        return DownloadFailed(
            say(
                "{repo} has no revision {revision}.",
                repo=name.repo,
                revision=name.revision or "main",
            ),
            say("Leave the revision out, or give a branch, a tag or a commit."),
            is_temporary=False,
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return DownloadFailed(
            say(
                "A file of {name} was deleted from {host} during the download.",
                name=shown,
                host=host,
            ),
            say("Try again: its authors may have just changed it."),
            is_temporary=False,
        )
    if isinstance(error, RepositoryNotFoundError):
        private = say("your account has no access to it") if has_token else _LOG_IN
        return DownloadFailed(
            say(
                "There is no model {repo} at {host}, or it is private.",
                repo=name.repo,
                host=host,
            ),
            say(
                "Check the spelling. If it is private: {private:clause}.",
                private=private,
            ),
            is_temporary=False,
        )
    status = error.response.status_code if error.response is not None else 0
    if isinstance(error, DisabledRepoError):
        return _refused(host, shown, status)
    return _describe_status(status, shown, host=host, has_token=has_token)


def _describe_gate(name: str, page: str, *, has_token: bool) -> DownloadFailed:
    if has_token:
        return DownloadFailed(
            say("{name} is gated, and your account has no access to it.", name=name),
            say(
                "Ask for access at {page}, wait until it is granted, and try again.",
                page=page,
            ),
            is_temporary=False,
        )
    return DownloadFailed(
        say("{name} is gated: its authors ask who uses it.", name=name),
        say("Agree to their terms at {page}, {log_in}", page=page, log_in=_LOG_IN),
        is_temporary=False,
    )


def _refused(host: str, name: str, status: int) -> DownloadFailed:
    return DownloadFailed(
        say(
            "{host} does not provide {name} (HTTP {status}).",
            host=host,
            name=name,
            status=status,
        ),
        say("Check the page of the model, or choose another one."),
        is_temporary=False,
    )


def _describe_status(
    status: int, name: str, *, host: str, has_token: bool
) -> DownloadFailed:
    if status not in (401, 403, *_BUSY_STATUS):
        return _refused(host, name, status)
    if status in _BUSY_STATUS:
        return DownloadFailed(
            say("{host} is busy or unavailable (HTTP {code}).", host=host, code=status),
            say("Try again later."),
            is_temporary=True,
        )
    token = say("your token is not accepted") if has_token else say("you have no token")
    return DownloadFailed(
        say(
            "{host} provides {name} to registered users only, and {token} (HTTP "
            "{status}).",
            host=host,
            name=name,
            token=token,
            status=status,
        ),
        say("To get access, {log_in}", log_in=_LOG_IN),
        is_temporary=False,
    )
