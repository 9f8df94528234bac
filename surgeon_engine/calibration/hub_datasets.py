"""Texts from data sets of the Hugging Face Hub, of which only the first rows are read.

Rows are streamed: of a data set of terabytes nothing comes that is not asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import datasets
import httpx2
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from surgeon_engine.api.errors import CalibrationError
from surgeon_engine.api.model_info.source_names import HubName

USUAL_SPLIT = "train"
_LOOKED_AT = 50  # rows, to see what the columns hold

# What a `HubName` is to `datasets`: tests put a folder in its place.
_location: Callable[[HubName], str] = lambda name: name.repo  # noqa: E731


def config_names(name: HubName) -> tuple[str, ...]:
    """The configurations of a data set.

    Raises:
        CalibrationError: it cannot be reached or read.
    """
    with _join_names(name):
        found = datasets.get_dataset_config_names(_location(name), **_revision(name))
        return tuple(found)


def split_names(name: HubName, config: str) -> tuple[str, ...]:
    """The splits of a configuration.

    Raises:
        CalibrationError: as for `config_names`.
    """
    with _join_names(name):
        found = datasets.get_dataset_split_names(
            _location(name), config or None, **_revision(name)
        )
        return tuple(found)


def chosen_config(name: HubName, wanted: str) -> str:
    """The configuration to read.

    Raises:
        CalibrationError: it does not exist, or there are several and none was named.
    """
    found = config_names(name)
    if wanted:
        return _one_of(name, "configuration", wanted, found)
    if len(found) > 1 and "default" not in found:
        raise CalibrationError(
            f"{name.display_name} has several configurations, and none was chosen.",
            f"Choose one: {_listed(found)}.",
        )
    return "default" if "default" in found else (found or ("",))[0]


def chosen_split(name: HubName, wanted: str, found: Sequence[str]) -> str:
    """The split to read.

    Raises:
        CalibrationError: it does not exist.
    """
    if wanted:
        return _one_of(name, "split", wanted, found)
    return USUAL_SPLIT if USUAL_SPLIT in found else found[0]


def first_rows(
    name: HubName, config: str, split: str, most: int = _LOOKED_AT
) -> list[Mapping[str, Any]]:
    """The first rows of a split, `most` of them.

    Raises:
        CalibrationError: it cannot be reached or read, or has no rows.
    """
    with _join_names(name):
        table = datasets.load_dataset(
            _location(name),
            config or None,
            split=split,
            streaming=True,
            **_revision(name),
        )
        rows = list(itertools.islice(table, most))
    if not rows:
        raise CalibrationError(
            f"The split {split} of {name.display_name} has no rows.",
            "Choose another split.",
        )
    return rows


def _revision(name: HubName) -> dict[str, str]:
    return {"revision": name.revision} if name.revision else {}


def _one_of(name: HubName, kind: str, wanted: str, found: Sequence[str]) -> str:
    if wanted in found:
        return wanted
    raise CalibrationError(
        f"{name.display_name} has no {kind} {wanted!r}.",
        f"Choose one: {_listed(found)}.",
    )


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


@contextmanager
def _join_names(name: HubName) -> Iterator[None]:
    """Whatever goes wrong inside becomes a sentence.

    Raises:
        CalibrationError: something has gone wrong.
    """
    try:
        yield
    except CalibrationError:
        raise
    except (httpx2.TransportError, ConnectionError, OfflineModeIsEnabled) as error:
        raise CalibrationError(
            f"The data set {name.display_name} cannot be reached: "
            f"{type(error).__name__}.",
            "Check the network connection, or choose a text file.",
        ) from error
    except datasets.exceptions.DatasetNotFoundError as error:
        is_gated = "gated" in str(error)
        why = "is gated" if is_gated else "does not exist, or is private"
        raise CalibrationError(
            f"The data set {name.display_name} {why}.",
            "Agree to its terms on its page, then log in with `hf auth login`."
            if is_gated
            else "Check the spelling. If it is private, log in with `hf auth login`.",
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise CalibrationError(
            f"The Hub refuses to give the data set {name.display_name} "
            f"(HTTP {status}).",
            "Try again later, or look at its page there.",
        ) from error
    except (ValueError, RuntimeError, OSError, KeyError, TypeError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CalibrationError(
            f"The data set {name.display_name} cannot be read: {line.rstrip('.')}.",
            "Choose another one, or another configuration or split.",
        ) from error
