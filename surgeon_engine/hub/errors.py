"""What goes wrong between here and the Hub, in sentences.

Whatever a server or a library says is told only where it is known to hold no secrets:
a request's headers carry the user's token.
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

from surgeon_engine.api.errors import EngineError
from surgeon_engine.api.model_info.source_names import HubName
from surgeon_engine.hub.messages import DownloadFailed

_LOG_IN = (
    "log in with `hf auth login` (or set HF_TOKEN) in a terminal and try again; "
    "Surgeon keeps no token."
)
_BUSY = (408, 429, 500, 502, 503, 504)


def refused(
    error: Exception, name: HubName, *, host: str, has_token: bool
) -> DownloadFailed:
    """What to tell of an error that ended a download."""
    if isinstance(error, EngineError):
        return DownloadFailed(error.message, error.hint, may_pass=False)
    if isinstance(error, OfflineModeIsEnabled):
        return DownloadFailed(
            f"{name.display_name} cannot be downloaded: HF_HUB_OFFLINE is set.",
            "Unset it and start Surgeon again, or choose a model on this computer.",
            may_pass=False,
        )
    if isinstance(error, HfHubHTTPError):
        return _refused_by_server(error, name, host=host, has_token=has_token)
    # The library says so too where it has looked for a file in the cache in vain.
    if isinstance(error, httpx2.TransportError | LocalEntryNotFoundError):
        return DownloadFailed(
            f"{host} cannot be reached: {type(error).__name__}.",
            "Check the network connection. What has arrived is kept, and the download "
            "can be resumed.",
            may_pass=True,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadFailed(
            "The disk is full.",
            "Free some space, or set HF_HOME to a folder on another disk. What has "
            "arrived is kept, and the download can be resumed.",
            may_pass=False,
        )
    if isinstance(error, OSError):
        why = error.strerror or str(error).splitlines()[0]
        hint = "Try again; what has arrived is kept."
        return DownloadFailed(
            f"{name.display_name} cannot be stored: {why}.", hint, may_pass=True
        )
    raise error


def _refused_by_server(
    error: HfHubHTTPError, name: HubName, *, host: str, has_token: bool
) -> DownloadFailed:
    if isinstance(error, GatedRepoError):
        page = f"{host}/{name.repo}"
        if has_token:
            return DownloadFailed(
                f"{name.display_name} is gated, and your account has no access to it.",
                f"Ask for access at {page}, wait until it is granted, and try again.",
                may_pass=False,
            )
        return DownloadFailed(
            f"{name.display_name} is gated: its makers ask who uses it.",
            f"Agree to their terms at {page}, {_LOG_IN}",
            may_pass=False,
        )
    if isinstance(error, RevisionNotFoundError):
        return DownloadFailed(
            f"{name.repo} has no revision {name.revision or 'main'}.",
            "Leave the revision out, or give a branch, a tag or a commit.",
            may_pass=False,
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return DownloadFailed(
            f"A file of {name.display_name} has gone from {host} during the download.",
            "Try again: its makers may just have changed it.",
            may_pass=False,
        )
    if isinstance(error, RepositoryNotFoundError):
        private = "your account may not see it" if has_token else f"{_LOG_IN}"
        return DownloadFailed(
            f"There is no model {name.repo} at {host}, or it is private.",
            f"Check the spelling. If it is private: {private}".rstrip(".") + ".",
            may_pass=False,
        )
    status = error.response.status_code if error.response is not None else 0
    if isinstance(error, DisabledRepoError) or status not in (401, 403, *_BUSY):
        return DownloadFailed(
            f"{host} refuses to give {name.display_name} (HTTP {status}).",
            "Look at its page there, or choose another model.",
            may_pass=False,
        )
    if status in _BUSY:
        return DownloadFailed(
            f"{host} is busy or out of order (HTTP {status}).",
            "Try again later. What has arrived is kept.",
            may_pass=True,
        )
    whose = "is not accepted" if has_token else "is missing"
    return DownloadFailed(
        f"{host} gives {name.display_name} to known users only, and your token {whose} "
        f"(HTTP {status}).",
        f"To be let in, {_LOG_IN}",
        may_pass=False,
    )
