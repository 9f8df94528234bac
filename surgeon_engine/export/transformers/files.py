"""Write the three formats that transformers loads: compact, plain and masked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME
from typing_extensions import override

from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.api.config.pruning import Coupling, display_name
from surgeon_engine.api.model_info.header import PLAN_FILE
from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.sentences import say
from surgeon_engine.compaction import compact_layers
from surgeon_engine.compaction.config_values import text_options
from surgeon_engine.compaction.depth_config import without_weights
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.compaction.shrink import (
    CompactModel,
    compact,
    is_per_block,
    stated_widths,
    stock_config,
    whole,
)
from surgeon_engine.compaction.slices import TensorSlice, whole_slices
from surgeon_engine.export.base import Check, VerificationResult, Writer
from surgeon_engine.export.isolated_process import run_isolated
from surgeon_engine.export.transformers.tokenizer_files import write_tokenizer
from surgeon_engine.export.transformers.weight_files import (
    FilePart,
    bytes_of,
    file_dtype,
    file_parts,
    write_weights,
)
from surgeon_engine.model.classes import auto_classes
from surgeon_engine.model.coupling import groups_of
from surgeon_engine.model.experts import EXPERT_COUNTS
from surgeon_engine.model.layers import head_size
from surgeon_engine.model.source import UNREADABLE, first_line
from surgeon_engine.planning.constants import CHECK_KEPT, CHECK_ROOM
from surgeon_engine.planning.formats import NO_MASKED_EXPERTS
from surgeon_engine.runtime import devices

LAYERS = "compact_layers.py"
MODELING = "modeling_pruned.py"
CHECK = Path(__file__).with_name("check.py")
_FULL_SIZE = say(
    "All matrices have their full size: nothing was removed, or single weights alone."
)
_MODELING = '''\
"""{model} with smaller layers; written by Surgeon.

Their widths are in config.json. Load it with

    {auto}.from_pretrained(folder, trust_remote_code=True)
"""

from transformers import {names}

from .compact_layers import Shrunk
'''
_CLASS = '''

class Pruned{name}(Shrunk, {name}):
    """{description}"""


# Without this, save_pretrained of some versions copies no code.
Pruned{name}.register_for_auto_class("{auto}")
'''


class MaskedWriter(Writer):
    """Writes the files of the original architecture; removed weights are zeros."""

    @override
    def unsupported_reason(self, pruned: PrunedModel) -> str:
        kinds = (each.coupled.kind for each in pruned.plan.groups)
        return NO_MASKED_EXPERTS if Coupling.EXPERTS in kinds else ""

    @override
    def forecast(self, pruned: PrunedModel, dtype: FileDtype) -> int:
        return bytes_of(self._parts(pruned, dtype))

    @override
    def write(self, pruned: PrunedModel, config: ExportConfig, folder: Path) -> None:
        self._write(pruned, config, folder, self._config(pruned))

    @override
    def verify(self, folder: Path, probe: Path, check: Check) -> VerificationResult:
        arguments = (folder, probe, CHECK_ROOM, CHECK_KEPT)
        return run_isolated(CHECK, tuple(map(str, arguments)), check)

    def _config(self, pruned: PrunedModel) -> dict[str, Any]:
        return stock_config(pruned.loaded.model)

    def _tensors(self, pruned: PrunedModel) -> dict[str, TensorSlice]:
        return whole_slices(pruned.loaded.model)

    def _parts(self, pruned: PrunedModel, dtype: FileDtype) -> list[FilePart]:
        model = without_weights(pruned.loaded.model, self._config(pruned))
        return file_parts(self._tensors(pruned), dtype, pruned.loaded, model)

    def _write(
        self,
        pruned: PrunedModel,
        config: ExportConfig,
        folder: Path,
        model_config: Mapping[str, Any],
    ) -> None:
        loaded = pruned.loaded
        parts = self._parts(pruned, config.dtype)
        write_weights(parts, config.shard_gigabytes, folder)
        dtype = devices.name_of(file_dtype(config.dtype, loaded))
        with_dtype = dict(model_config) | {"dtype": dtype}
        text = json.dumps(with_dtype, indent=2, sort_keys=True) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")
        if loaded.model.can_generate():
            # save_pretrained rejects the generation configs of many models.
            generation = loaded.model.generation_config
            text = generation.to_json_string(keys_to_pop=["compile_config"])
            (folder / GENERATION_CONFIG_NAME).write_text(text, encoding="utf-8")
        plan = replace(pruned.plan, tokens=pruned.tokens)
        if not plan.is_empty or plan.tokens is not None:  # it restores zeros
            plan.save(folder / PLAN_FILE, stock_config(loaded.model))
        write_tokenizer(loaded, folder)


class _SmallerWriter(MaskedWriter):
    """Writes tensors without their removed rows and columns."""

    @override
    def _tensors(self, pruned: PrunedModel) -> dict[str, TensorSlice]:
        return compact(pruned.loaded.model, pruned.plan).tensors


class PlainWriter(_SmallerWriter):
    """Writes plain files: a smaller model of the original architecture."""

    @override
    def unsupported_reason(self, pruned: PrunedModel) -> str:
        plan, model = pruned.plan, pruned.loaded.model
        if plan.layers:
            return say("Plain models have no layers with removed rows and columns.")
        if plan.is_empty and pruned.tokens is None:
            return _FULL_SIZE
        try:
            smaller = without_weights(model, self._config(pruned))
        except (ModelError, *UNREADABLE) as error:
            return say(
                "No plain model has these widths: {reason:clause}.",
                reason=first_line(error),
            )
        shapes = {name: tuple(x.shape) for name, x in smaller.state_dict().items()}
        for name, tensor in self._tensors(pruned).items():
            if shapes.get(name) != tensor.shape:
                return say(
                    "No plain {model_type} has these widths: {name} would be "
                    "{found}, not {needed}.",
                    model_type=type(model).__name__,
                    name=name,
                    found=_format_shape(shapes.get(name, ())),
                    needed=_format_shape(tensor.shape),
                )
        return ""

    @override
    def _config(self, pruned: PrunedModel) -> dict[str, Any]:
        return _uniform_config(compact(pruned.loaded.model, pruned.plan))


class CompactWriter(_SmallerWriter):
    """Writes a smaller model with the code that builds its layers."""

    @override
    def unsupported_reason(self, pruned: PrunedModel) -> str:
        if pruned.plan.is_empty:
            return _FULL_SIZE
        model = pruned.loaded.model
        reason = compact_unsupported_reason(pruned)
        if reason or compact(model, pruned.plan).has_stock_blocks:
            return reason
        return say(
            "The config of {model_type} cannot describe the kinds of the remaining "
            "blocks.",
            model_type=type(model).__name__,
        )

    @override
    def write(self, pruned: PrunedModel, config: ExportConfig, folder: Path) -> None:
        model = pruned.loaded.model
        classes = _compact_classes(model)
        (folder / MODELING).write_text(_modeling(classes), encoding="utf-8")
        shutil.copyfile(compact_layers.__file__, folder / LAYERS)
        module = Path(MODELING).stem
        added = {
            "architectures": [f"Pruned{type(model).__name__}"],
            "auto_map": {
                auto: f"{module}.Pruned{name}" for auto, name in classes.items()
            },
        }
        model_config = compact(model, pruned.plan).config | added
        self._write(pruned, config, folder, model_config)

    @override
    def _parts(self, pruned: PrunedModel, dtype: FileDtype) -> list[FilePart]:
        # transformers converts no names for classes outside of it.
        return file_parts(self._tensors(pruned), dtype, pruned.loaded)


def _compact_classes(model: PreTrainedModel) -> dict[str, str]:
    """Return the stock classes that a compact checkpoint extends, by auto classes."""
    classes = {auto: type(model).__name__ for auto in auto_classes(model)}
    body = type(model.base_model).__name__
    if hasattr(transformers, body):
        classes["AutoModel"] = body  # without the language model head
    return classes


def _modeling(classes: dict[str, str]) -> str:
    """Return the code of the classes of a compact checkpoint."""
    by_name = {name: auto for auto, name in reversed(classes.items())}
    whole = next(iter(classes))
    code = _MODELING.format(
        model=classes[whole],
        auto=whole,
        names=", ".join(sorted(by_name)),
    )
    for name, auto in by_name.items():
        with_head = auto != "AutoModel"
        code += _CLASS.format(
            name=name,
            auto=auto,
            description=f"The model {'with' if with_head else 'without'} its head.",
        )
    return code


def compact_unsupported_reason(pruned: PrunedModel) -> str:
    """Return why a config cannot describe the remaining widths; empty if it can."""
    try:
        _ = compact(pruned.loaded.model, pruned.plan).config
    except ModelError as error:
        return error.message
    return ""


def _uniform_config(compacted: CompactModel) -> dict[str, Any]:
    """Return the config of a plain model with the widths that all layers share."""
    model, plan = compacted.model, compacted.plan
    kept = {each.coupled.name: each for each in compacted.remaining}
    widths: dict[str, int] = {}
    kinds: dict[str, Coupling] = {}  # by the name of a width
    for kind in sorted({each.coupled.kind for each in plan.groups}):
        for coupled in groups_of(kind, model):
            block = coupled.consumer.block
            if block not in compacted.blocks:
                continue
            each = kept.get(coupled.name, whole(coupled))
            if each.is_empty:
                block = compacted.blocks.index(block)
                raise ValueError(
                    say(
                        "block {block} has no {kind}",
                        block=block,
                        kind=display_name(kind),
                    )
                )
            for name, width in stated_widths(each, model).items():
                if widths.setdefault(name, width) != width:
                    raise _ragged_error(name, kinds[name], kind)
                kinds.setdefault(name, kind)
    values = stock_config(model)
    text = text_options(values, model.config)
    text |= compacted.depth_config | widths
    config = model.config.get_text_config()
    for other, name in (config.attribute_map or {}).items():
        if name in widths and EXPERT_COUNTS.fullmatch(other):
            text[other] = widths[name]  # older versions of transformers read this name
    is_stated = "num_attention_heads" in widths and not is_per_block("head_dim", config)
    if compacted.has_fewer_heads and is_stated:
        text["head_dim"] = head_size(config)
    return values


def _ragged_error(name: str, one: Coupling, other: Coupling) -> ValueError:
    """Return the error for a width that is another one for other groups."""
    if one is not other:
        return ValueError(
            say(
                "{option} must be one number for {one} and {other}, but different "
                "numbers of them are left",
                option=name,
                one=display_name(one),
                other=display_name(other),
            )
        )
    return ValueError(
        say(
            'blocks have different numbers of {kind} left. With widths = "same", all '
            "of them lose equally many",
            kind=display_name(one),
        )
    )


def _format_shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or say("nothing")
