"""Read the first rows of datasets of the Hugging Face Hub.

Rows are streamed, so that only the requested ones are downloaded. The library
`datasets` builds paths from names in response headers; they are checked before.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import datasets
import httpx2
from huggingface_hub import get_session, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from surgeon_engine.api.model_info.source_names import HubName
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.calibration.tables import join_names
from surgeon_engine.runtime import fence

USUAL_SPLIT = "train"
_SAMPLE_ROWS = 50  # rows that show which columns hold text
# Headers whose values become names of files and folders, and their safe values.
_ETAG = re.compile(r'(W/)?"?[0-9A-Za-z+][0-9A-Za-z_.+=/-]*"?')
_COMMIT = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]*")
_NAMES = {"ETag": _ETAG, "X-Linked-ETag": _ETAG, "X-Repo-Commit": _COMMIT}

# The location of a dataset for `datasets`; tests replace it by a folder.
_location: Callable[[HubName], str] = lambda name: name.repo  # noqa: E731


def config_names(name: HubName) -> tuple[str, ...]:
    """Return the configurations of a dataset.

    Raises:
        CalibrationError: The dataset cannot be reached or read.
    """
    return _names(datasets.get_dataset_config_names, name)


def split_names(name: HubName, config: str) -> tuple[str, ...]:
    """Return the splits of a configuration.

    Raises:
        CalibrationError: The dataset cannot be reached or read.
    """
    return _names(datasets.get_dataset_split_names, name, config or None)


def _names(
    get: Callable[..., Sequence[str]], name: HubName, *config: str | None
) -> tuple[str, ...]:
    with _readable_errors(name):
        return tuple(get(_location(name), *config, revision=name.revision or None))


def resolve_config(name: HubName, requested: str) -> str:
    """Return the configuration to read; `requested` may be empty.

    Raises:
        CalibrationError: It does not exist, or there are several and none is requested.
    """
    configs = config_names(name)
    if requested in configs:
        return requested
    if requested:
        raise CalibrationError(
            "{name} has no configuration {requested:shown}.",
            "Choose one: {names}.",
            name=name.display_name,
            requested=requested,
            names=join_names(configs),
        )
    if len(configs) > 1 and "default" not in configs:
        raise CalibrationError(
            "{name} has several configurations, and none was chosen.",
            "Choose one: {names}.",
            name=name.display_name,
            names=join_names(configs),
        )
    return "default" if "default" in configs else (configs or ("",))[0]


def resolve_split(name: HubName, requested: str, splits: Sequence[str]) -> str:
    """Return the split to read; `requested` may be empty.

    Raises:
        CalibrationError: It does not exist.
    """
    if requested in splits:
        return requested
    if requested:
        raise CalibrationError(
            "{name} has no split {requested:shown}.",
            "Choose one: {names}.",
            name=name.display_name,
            requested=requested,
            names=join_names(splits),
        )
    return USUAL_SPLIT if USUAL_SPLIT in splits else splits[0]


def first_rows(
    name: HubName, config: str, split: str, max_rows: int = _SAMPLE_ROWS
) -> list[Mapping[str, Any]]:
    """Return the first `max_rows` rows of a split.

    Raises:
        CalibrationError: The split cannot be reached or read, or has no rows.
    """
    with _readable_errors(name):
        table = datasets.load_dataset(
            _location(name),
            config or None,
            split=split,
            streaming=True,
            revision=name.revision or None,
        )
        rows = []
        for row in itertools.islice(table, max_rows):
            rows.append(row)
            fence.alive()
    if not rows:
        raise CalibrationError(
            "The split {split} of {name} has no rows.",
            "Choose another split.",
            split=split,
            name=name.display_name,
        )
    return rows


@functools.cache
def _check_responses() -> None:
    """Let every client of the Hub check the responses that it receives."""
    requests = get_session().event_hooks["request"]
    hooks: dict[str, list[Callable[..., object]]] = {
        "request": [*requests],
        "response": [_check_names],
    }
    set_client_factory(
        lambda: httpx2.Client(event_hooks=hooks, follow_redirects=True, timeout=None)
    )


def _check_names(response: httpx2.Response) -> None:
    """Check the file names in the headers of a response."""
    for header, safe in _NAMES.items():
        name = response.headers.get(header, "")
        if name and (".." in name or not safe.fullmatch(name)):
            raise CalibrationError(
                "{host} sent an invalid file name: {name:shown}.",
                "If HF_ENDPOINT names a mirror, unset it. Else choose a text file.",
                host=response.url.host,
                name=name,
            )


@contextmanager
def _readable_errors(name: HubName) -> Iterator[None]:
    """Turn errors of `datasets` into errors that a user can act on."""
    _check_responses()
    shown = name.display_name
    try:
        yield
    except CalibrationError:
        raise
    except OfflineModeIsEnabled as error:
        raise CalibrationError(
            "The dataset {name} cannot be read: offline mode is on.",
            "Switch it off in the preferences of the window, or unset "
            "HF_HUB_OFFLINE. Or choose a text file.",
            name=shown,
        ) from error
    except (httpx2.TransportError, ConnectionError) as error:
        raise CalibrationError(
            "The dataset {name} cannot be reached: {kind}.",
            "Check the network connection, or choose a text file.",
            name=shown,
            kind=type(error).__name__,
        ) from error
    except datasets.exceptions.DatasetNotFoundError as error:
        if "gated" in str(error):
            raise CalibrationError(
                "The dataset {name} is gated.",
                "Agree to its terms on its page, then log in with `hf auth login`.",
                name=shown,
            ) from error
        raise CalibrationError(
            "The dataset {name} does not exist, or is private.",
            "Check the spelling. If it is private, log in with `hf auth login`.",
            name=shown,
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise CalibrationError(
            "The Hub does not provide the dataset {name} (HTTP {status}).",
            "Try again later, or check its page on the Hub.",
            name=shown,
            status=status,
        ) from error
    except (ValueError, RuntimeError, OSError, KeyError, TypeError) as error:
        raise CalibrationError(
            "The dataset {name} cannot be read: {line:clause}.",
            "Choose another one, or another configuration or split.",
            name=shown,
            line=fence.describe(error),
        ) from error
