"""Search the Hub for models: a process with the words as its argument.

One request lists the most downloaded models, further ones read their configs at the
same time. Nothing that the server says is trusted: a name has to be a model's name,
numbers and texts are bounded, and a value of another kind counts as missing.
"""

from __future__ import annotations

import concurrent.futures
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from surgeon_engine.api.messages.sources import HubModel
from surgeon_engine.api.model_info.header import (
    DTYPES,
    ModelFacts,
    check_options,
    config_facts,
    decoder_sizes,
)
from surgeon_engine.api.model_info.quantization import quantization_of
from surgeon_engine.api.model_info.source_names import SCHEME, hub_name
from surgeon_engine.base.calls import Refused
from surgeon_engine.base.errors import DownloadError, EngineError, ModelError
from surgeon_engine.base.sentences import Sentence
from surgeon_engine.hub.fetch_process import select_files
from surgeon_engine.hub.http_client import read_json
from surgeon_engine.hub.messages import ModelsFound
from surgeon_engine.runtime.json_streams import JsonOutput, exit_with_parent

MAX_MODELS = 20
_FIELDS = ("safetensors", "gated", "downloads", "tags", "config", "siblings")
_TIMEOUT = httpx2.Timeout(8.0, connect=4.0)  # seconds
_LIST_S = 10.0  # also for looking up the address of the server
_CONFIGS_S = 6.0  # after which the models without a config are shown without it
_CONNECTIONS = 10
_MAX_NUMBER = 10**15
_MAX_VALUE = 100  # characters of a name in a sentence
_MAX_TEXT = 300  # characters
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2}
_WIDTHS |= {"I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}  # bytes
_WIDTHS |= {"F8_E8M0": 1, "U32": 4}
_TOO_MANY_REQUESTS = 429  # HTTP status
_LICENSE = "license:"  # beginning of a tag

_Options = Mapping[str, Any]


def main() -> int:
    """Search for the words on the command line; return the exit code."""
    exit_with_parent()
    send = JsonOutput().write
    try:
        send(ModelsFound(_search(sys.argv[1])))
    except Exception as error:  # noqa: BLE001 (described, or raised again)
        send(Refused.by(describe_failure(error, constants.ENDPOINT)))
        return 1
    return 0


def describe_failure(error: Exception, host: str) -> EngineError:
    """Return the error to report for one that ended a search.

    An error of an unexpected type is raised again.
    """
    if isinstance(error, EngineError):
        return error
    if isinstance(error, OfflineModeIsEnabled):
        return DownloadError(
            "The Hugging Face Hub is not searched: offline mode is on.",
            "Switch it off in the preferences of the window, or unset HF_HUB_OFFLINE.",
        )
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 0
        if status == _TOO_MANY_REQUESTS:
            return DownloadError(
                "{host} has received too many requests from here (HTTP {status}).",
                "Try again in some minutes. With `hf auth login`, the limit is higher.",
                host=host,
                status=status,
            )
        return DownloadError(
            "{host} does not answer the search (HTTP {status}).",
            "Try again later.",
            host=host,
            status=status,
        )
    if isinstance(error, httpx2.TransportError | TimeoutError):
        return DownloadError(
            "{host} cannot be reached, so only downloaded models are listed.", host=host
        )
    raise error


def _search(words: str) -> tuple[HubModel, ...]:
    query = [
        ("search", words),
        ("pipeline_tag", "text-generation"),
        ("sort", "downloads"),
        ("direction", "-1"),
        ("limit", str(MAX_MODELS)),
        *(("expand[]", field) for field in _FIELDS),
    ]
    url = f"{constants.ENDPOINT}/api/models?{urlencode(query)}"
    pool = concurrent.futures.ThreadPoolExecutor(_CONNECTIONS)
    try:
        listed = pool.submit(read_json, url, list[Any], _TIMEOUT)
        entries = _by_name(listed.result(_LIST_S))
        configs = {name: pool.submit(_read_config, name) for name in entries}
        read = concurrent.futures.wait(configs.values(), _CONFIGS_S).done
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return tuple(
        _model(name, entry, configs[name].result() if configs[name] in read else {})
        for name, entry in entries.items()
    )


def _by_name(listed: list[Any]) -> dict[str, _Options]:
    """Return the entries that have the name of a model."""
    entries: dict[str, _Options] = {}
    for entry in listed:
        name = entry.get("id") if isinstance(entry, dict) else None
        source = f"{SCHEME}{name}"
        parsed = hub_name(source) if isinstance(name, str) else None
        if parsed is None or parsed.is_dataset or parsed.revision:
            continue
        entries.setdefault(parsed.repo, entry)
    return dict([*entries.items()][:MAX_MODELS])


def _read_config(name: str) -> _Options:
    """Return the config of a model; empty if the server does not give it."""
    url = f"{constants.ENDPOINT}/{name}/resolve/main/config.json"
    try:
        return read_json(url, dict[str, Any], timeout=_TIMEOUT)
    except (EngineError, HfHubHTTPError, httpx2.HTTPError):
        return {}


def _model(name: str, entry: _Options, config: _Options) -> HubModel:
    """Return a model from its entry in the list and from its config."""
    options = config or _mapping(entry.get("config"))
    problem, hint = _problem(name, entry, options)
    facts = config_facts(name, options)
    numbers = _mapping(_mapping(entry.get("safetensors")).get("parameters"))
    counts = {dtype: count for dtype, each in numbers.items() if (count := _int(each))}
    most_common = max(counts, key=counts.__getitem__, default="")
    is_known = bool(counts) and counts.keys() <= _WIDTHS.keys()
    size = sum(count * _WIDTHS[x] for x, count in counts.items()) if is_known else 0
    how = None if problem else quantization_of(name, options)
    if how is not None:
        counts = {dtype: how.room(dtype, count) for dtype, count in counts.items()}
    return HubModel(
        facts=ModelFacts(
            name=name,
            architecture=_text(facts.architecture),
            parameters=_int(sum(counts.values())),
            blocks=_int(facts.blocks),
            hidden_size=_int(facts.hidden_size),
            vocabulary=_int(facts.vocabulary),
            longest_window=_int(facts.longest_window),
            dtype=how.label if how else DTYPES.get(most_common, _text(most_common)),
            file_bytes=_int(size),
            problem=_cleaned(problem),
            hint=hint,
        ),
        sizes=decoder_sizes(options),
        model_type=_text(options.get("model_type")),
        license=_license(entry.get("tags")),
        downloads=_int(entry.get("downloads")),
        is_gated=entry.get("gated") in (True, "auto", "manual"),
    )


def _problem(name: str, entry: _Options, options: _Options) -> tuple[str, str]:
    """Return why a model cannot be pruned, and a hint; empty if it may be."""
    siblings = entry.get("siblings")
    try:
        check_options(name, options)
        if isinstance(siblings, list):
            files = (_mapping(each).get("rfilename") for each in siblings)
            select_files(name, (each for each in files if isinstance(each, str)))
    except ModelError as error:
        return error.message, error.hint
    return "", ""


def _cleaned(problem: str) -> str:
    """Return a sentence with values of limited length that can be shown."""
    if not isinstance(problem, Sentence):
        return _text(problem)
    values = {
        name: _text(value)[:_MAX_VALUE] if type(value) is str else value
        for name, value in problem.values.items()
    }
    return Sentence(problem.template, values)


def _license(tags: object) -> str:
    texts = tags if isinstance(tags, list) else []
    licenses = (x for x in texts if isinstance(x, str) and x.startswith(_LICENSE))
    return _text(next(licenses, "").removeprefix(_LICENSE))


def _mapping(value: object) -> _Options:
    return value if isinstance(value, dict) else {}


def _int(value: object) -> int:
    """Return a count; 0 if it is none, or an absurd one."""
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 <= value <= _MAX_NUMBER else 0


def _text(value: object) -> str:
    """Return a text in one line of limited length; empty if it is none."""
    text = value if isinstance(value, str) else ""
    return "".join(char for char in text if char.isprintable())[:_MAX_TEXT]


if __name__ == "__main__":
    sys.exit(main())
