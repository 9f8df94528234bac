"""Responses of the fake engine about searches, downloads and texts.

A download writes a config and an empty weight file to the cache of the Hub, which tests
place in a temporary folder. A file next to it records the progress of a cancelled one.
"""

import json
import struct
import time

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.messages.commands import (
    DescribeText,
    DownloadModel,
    PreviewVocabulary,
    SearchHub,
)
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.sources import (
    Downloading,
    HubModel,
    HubSearched,
    ModelDownloaded,
    PreviewedText,
    TextDescribed,
    TextPreviewed,
    TextStatistics,
)
from surgeon_engine.api.messages.vocabulary import (
    HitScript,
    Rewritten,
    ScriptLoss,
    VocabularyPreviewed,
)
from surgeon_engine.api.model_info.header import DecoderSizes, ModelFacts
from surgeon_engine.api.model_info.source_names import hub_name

PARTS = 20
PART_BYTES = 50_000_000
OFFLINE = "The Hub cannot be reached."
SMALL = HubModel(
    ModelFacts(
        "someone/small", "LlamaForCausalLM", 134_515_008, file_bytes=269_030_016
    ),
    DecoderSizes(30, 576, 1536, 9, 3, 64, 49_152),
    "llama",
    "apache-2.0",
    1_234_567,
)
LARGE = HubModel(
    ModelFacts("someone/large", "LlamaForCausalLM", 70_553_706_496),
    DecoderSizes(80, 8192, 28_672, 64, 8, 128, 128_256),
    is_gated=True,
)
EXPERTS = HubModel(
    ModelFacts("someone/experts", problem="It is a mixture.", hint="Choose another.")
)
GATED = "someone/gated is gated: its authors require registration."
COMMIT = "c0ffee" * 6
CACHED = 12  # windows that the model wrote
COLUMNS = ("text", "summary")
UNREADABLE = "broken.csv cannot be read."


def respond(command, emit, check, pause):
    """Handle a command about models or texts."""
    if isinstance(command, DownloadModel):
        download(command.source, emit, check, pause)
    elif isinstance(command, SearchHub):
        time.sleep(pause)
        check()
        emit(searched(command.query))
    elif isinstance(command, DescribeText):
        emit(described(command.calibration))
    elif isinstance(command, PreviewVocabulary):
        emit(fewer_tokens(command.tokens, command.kept_texts))
    else:
        emit(previewed(command.calibration, command.own_windows))


def fewer_tokens(tokens, kept_texts=()):
    """Return the preview of so many tokens; a language called "broken" is unknown.

    Cyrillic is hit unless it is kept.
    """
    if "broken" in kept_texts:
        return Failed("broken is no language.", "Name one.", settings=("kept_texts",))
    hit = () if "Cyrillic" in kept_texts else (HitScript("Cyrillic", 0.5, 0.25),)
    return VocabularyPreviewed(
        tokens=2_048,
        kept=1_365 if tokens is None else tokens,
        least=278,
        parameters=105_216,
        share=0.0372,
        file_bytes=420_864,
        scripts=(
            ScriptLoss("Latin", 1_668, 495, ("tensor", "els", "node")),
            ScriptLoss("Han", 20, 0, ()),
        ),
        texts=(
            Rewritten("mine.txt", 8_192, share=0.25, longer=0.5),
            Rewritten(BUILTIN_TEXT, 8_192, share=0.0317, longer=0.0336),
        ),
        hit=hit,
        is_typical=tokens is None,
    )


def download(source, emit, check, pause):
    """Simulate a download; it fails for a model called "gated"."""
    name = hub_name(source)
    emit(Downloading(0, 0, 0, 0))
    if "gated" in name.repo:
        emit(Failed(GATED, "Agree to their terms and log in."))
        return
    kept_file = name.cache_folder / "kept"
    kept = int(kept_file.read_text()) if kept_file.exists() else 0
    name.cache_folder.mkdir(parents=True, exist_ok=True)
    for part in range(kept, PARTS + 1):
        emit(
            Downloading(
                done=part * PART_BYTES,
                total=PARTS * PART_BYTES,
                files_done=4,
                files=5,
                file="model.safetensors",
                speed=25e6,
                kept=kept * PART_BYTES,
            )
        )
        kept_file.write_text(str(part))
        time.sleep(pause)
        check()
    emit(
        ModelDownloaded(
            source, cached(name), PARTS * PART_BYTES, (PARTS - kept) * PART_BYTES
        )
    )


def searched(query):
    """Return three models; none for "nothing", and a failure for "offline"."""
    if query == "offline":
        return Failed(OFFLINE)
    models = () if query == "nothing" else (SMALL, LARGE, EXPERTS)
    return HubSearched(models)


def cached(name):
    """Write a model without weights to the cache and return its folder."""
    snapshot = name.cache_folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (name.cache_folder / "refs").mkdir()
    (name.cache_folder / "refs" / "main").write_text(COMMIT)
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 192}
    (snapshot / "config.json").write_text(json.dumps(config))
    (snapshot / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    return str(snapshot)


def described(calibration):
    """Return the choices in a text; one called "broken" cannot be read."""
    if "broken" in calibration.text:
        return Failed(UNREADABLE, "Fields with commas need quotes.")
    if hub_name(calibration.text) is None:
        return TextDescribed(COLUMNS, "text")
    configs, splits = ("long", "short"), ("train", "validation")
    split = calibration.split or "train"
    return TextDescribed(COLUMNS, "text", configs, splits, split)


def previewed(calibration, own_windows):
    """Return two calibration windows and one validation window.

    Each further text has one window. The model's own windows are in the cache if there
    are as many as `CACHED`.
    """
    _, *counts = calibration.window_counts
    return TextPreviewed(
        ("The first window.", "The second one."),
        ("Held out.",),
        16_384,
        8_192,
        TextStatistics(
            900_000,
            column=calibration.column,
            documents=800,
            short_documents=300,
            repeated_documents=12,
            shared_windows=1,
        ),
        calibration.text,
        window_length=256,
        calibration_windows=64,
        validation_windows=32,
        more_texts=tuple(
            PreviewedText(more.text, count, (f"From {more.text}.",))
            for more, count in zip(calibration.more_texts, counts, strict=True)
        ),
        own=("Its own words.",) if own_windows == CACHED else (),
        own_cache_bytes=2_000_000 if own_windows == CACHED else 0,
    )
