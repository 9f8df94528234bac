"""Recognize quantized weights by the config of a model and the names of its tensors.

In place of a weight, each method stores several tensors: its numbers in few bits, their
scales and more. `METHODS` names them. Only the standard library is used, so that the
window can describe a model; `model/dequantize.py` computes the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.sentences import say

CONFIG = "quantization_config"
# Some folders of NVIDIA's ModelOpt name the method in a file of its own.
MODELOPT_FILE = "hf_quant_config.json"


@dataclass(frozen=True, slots=True)
class Method:
    """A method of quantization, with the endings of the names of its tensors."""

    label: str
    values: tuple[str, ...]  # the numbers in few bits
    others: tuple[str, ...]  # all else from which a weight is computed
    unused: tuple[str, ...] = ()  # tensors that are not needed for weights
    weight: str = ".weight"  # the ending of the weight's own name
    stacked: tuple[str, ...] = ()  # scales of stacked weights, which have no ending

    def split(self, name: str) -> tuple[str, str] | None:
        """Return the name of the weight to which a tensor belongs, and its ending."""
        for ending in (*self.others, *self.values):
            if name.endswith(ending):
                return name.removesuffix(ending) + self.weight, ending
        return None


@dataclass(frozen=True, slots=True)
class Quantization:
    """The quantization of a model's weights."""

    method: Method
    bits: int = 8  # bits per number in most weights
    block: tuple[int, int] | None = None  # the rows and columns that share a scale
    zero_offset: int = 0  # added to stored zero points

    @property
    def label(self) -> str:
        """The method, for the user."""
        return self.method.label

    def numbers(self, name: str, dtype: str, size: int) -> int:
        """Return how many weights a stored tensor of `size` numbers holds."""
        method = self.method
        if name.endswith((*method.others, *method.unused, *method.stacked)):
            return 0
        if not name.endswith(method.values):
            return size
        return self.room(dtype, size)

    def room(self, dtype: str, size: int) -> int:
        """Return how many weights stored numbers of a format can hold."""
        return size * max(1, _PACKED_BITS.get(dtype, 0) // self.bits)


# Formats of numbers that hold several weights each.
_PACKED_BITS = {"U8": 8, "I32": 32, "U32": 32}
# Scales of activations and of the cache.
_OF_ACTIVATIONS = (
    ".activation_scale",
    ".input_scale",
    ".input_zero_point",
    ".input_global_scale",
    ".input_scale_ub",
    ".output_scale",
    ".k_scale",
    ".v_scale",
)
_SCALES = (
    ".weight_scale",
    ".weight_scale_inv",
    ".weight_scale_2",
    ".weight_global_scale",
    ".weight_zero_point",
    ".weight_shape",
    ".weight_g_idx",
    ".pre_quant_scale",
)
_STATES = ("bitsandbytes__nf4", "bitsandbytes__fp4")


def _scaled(label: str) -> Method:
    values, stacked = (
        (".weight", ".weight_packed"),
        ("_weight_scale", "_scale_inv", "_scale"),
    )
    return Method(label, values, _SCALES, _OF_ACTIVATIONS, stacked=stacked)


FP8 = _scaled("FP8")
COMPRESSED_TENSORS = _scaled("compressed-tensors")
MODELOPT = _scaled("ModelOpt")
BITSANDBYTES = Method(
    "bitsandbytes",
    (".weight",),
    (
        ".SCB",
        ".weight_format",
        ".weight.absmax",
        ".weight.quant_map",
        ".weight.nested_absmax",
        ".weight.nested_quant_map",
        *(f".weight.quant_state.{state}" for state in _STATES),
    ),
)
GPTQ = Method("GPTQ", (".qweight",), (".qzeros", ".scales", ".g_idx"))
AWQ = Method("AWQ", (".qweight",), (".qzeros", ".scales"))
MXFP4 = Method("MXFP4", ("_blocks",), ("_scales",), weight="")
TORCHAO = Method(
    "torchao",
    ("._weight_qdata",),
    (
        "._weight_scale",
        "._weight_zero_point",
        "._weight_scale_and_zero",
        "._weight_per_tensor_scale",
        "._weight_act_pre_scale",
    ),
)
METHODS = {  # by their names in configs
    "fp8": FP8,
    "mxfp8": FP8,
    "fbgemm_fp8": FP8,
    "compressed-tensors": COMPRESSED_TENSORS,
    "modelopt": MODELOPT,
    "bitsandbytes": BITSANDBYTES,
    "gptq": GPTQ,
    "awq": AWQ,
    "auto-round": GPTQ,
    "mxfp4": MXFP4,
    "torchao": TORCHAO,
}
_READ_FORMATS = (  # formats of compressed-tensors
    "dense",
    "naive-quantized",
    "int-quantized",
    "float-quantized",
    "pack-quantized",
    "mixed-precision",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp8-quantized",
)
_READ_ALGORITHMS = (  # algorithms of ModelOpt
    "FP8",
    "FP8_PER_CHANNEL_PER_TOKEN",
    "NVFP4",
    "W4A16_NVFP4",
    "MIXED_PRECISION",
)
_READ_BITS = (2, 4, 8)
_USUAL_BLOCK = (128, 128)  # rows and columns per scale of FP8


def quantization_of(name: str, options: Mapping[str, Any]) -> Quantization | None:
    """Return how the weights of a model are quantized; None if they are not.

    Raises:
        ModelError: Surgeon does not read weights that are quantized like this.
    """
    text = options.get("text_config")
    settings = options.get(CONFIG)
    if not settings and isinstance(text, Mapping):
        settings = text.get(CONFIG)
    if not settings:
        return None
    if not isinstance(settings, Mapping):
        settings = {}
    method = METHODS.get(_method_name(settings))
    if method is None:
        raise _method_error(name, _method_name(settings))
    found = Quantization(method, _bits(settings), _block(settings, method))
    if method is GPTQ:
        return _gptq(name, settings, found)
    if method is AWQ:
        _check(name, found, settings, "version", ("gemm",))
        _check(name, found, settings, "bits", (4,))
        _check(name, found, settings, "zero_point", (True,))
    elif method is COMPRESSED_TENSORS:
        _check_compressed(name, found, settings)
    elif method is MODELOPT:
        _check(name, found, settings, "quant_algo", _READ_ALGORITHMS)
    return found


def _method_name(settings: Mapping[str, Any]) -> str:
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        return "bitsandbytes"
    return str(settings.get("quant_method", "")).lower()[:100]


def _method_error(name: str, method: str) -> ModelError:
    labels = sorted({each.label for each in METHODS.values()})
    return ModelError(
        say(
            "The weights of {name} are quantized by {method}, which Surgeon does not "
            "read.",
            name=name,
            method=method,
        )
        if method
        else say(
            "The weights of {name} are quantized, and its config names no method.",
            name=name,
        ),
        "Choose the model's float32, float16 or bfloat16 files. Surgeon reads "
        "these methods: {methods}.",
        methods=", ".join(labels),
    )


def _check(
    name: str,
    found: Quantization,
    settings: Mapping[str, Any],
    option: str,
    known: Sequence[object],
) -> None:
    """Check that an option, if it is stated, has a known value."""
    value = settings.get(option)
    if value is not None and value not in known and str(value).lower() not in known:
        raise _option_error(name, found, option, value)


def _option_error(
    name: str, found: Quantization, option: str, value: object
) -> ModelError:
    return ModelError(
        "The weights of {name} are quantized by {method} with {option} = {value}, "
        "which Surgeon does not read.",
        "Choose the model's float32, float16 or bfloat16 files.",
        name=name,
        method=found.label,
        option=option,
        value=repr(value)[:100],
    )


def _check_compressed(
    name: str, found: Quantization, settings: Mapping[str, Any]
) -> None:
    _check(name, found, settings, "format", _READ_FORMATS)
    sparsity = settings.get("sparsity_config")
    if isinstance(sparsity, Mapping):
        _check(name, found, sparsity, "format", ("dense",))
    transforms = settings.get("transform_config")
    if transforms:  # rotations, some of them between the layers
        raise _option_error(name, found, "transform_config", transforms)


def _gptq(name: str, settings: Mapping[str, Any], found: Quantization) -> Quantization:
    """Return the format of GPTQ, or of AutoRound, whose weights are of GPTQ or AWQ."""
    _check(name, found, settings, "bits", _READ_BITS)
    if settings.get("quant_method") == "auto-round":
        option = "packing_format"
        packing = str(settings.get(option))
        if packing == "auto_round:auto_awq":
            return replace(found, method=AWQ)
        _check(name, found, {option: packing}, option, ("auto_round:auto_gptq",))
    else:
        _check(name, found, settings, "checkpoint_format", ("gptq", "gptq_v2"))
    # The first version of the format stores each zero point less one.
    is_first = settings.get("checkpoint_format") != "gptq_v2"
    return replace(found, zero_offset=int(is_first))


def _groups(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the settings of weights in the groups of layers of compressed-tensors."""
    groups = settings.get("config_groups")
    schemes = groups.values() if isinstance(groups, Mapping) else ()
    weights = (x.get("weights") for x in schemes if isinstance(x, Mapping))
    return [each for each in weights if isinstance(each, Mapping)]


def _bits(settings: Mapping[str, Any]) -> int:
    stated = [settings.get("bits"), settings.get("w_bit")]
    stated += [group.get("num_bits") for group in _groups(settings)]
    for bits in stated:
        if isinstance(bits, int) and 1 <= bits <= 8:
            return bits
    kind = f"{settings.get('quant_method')} {settings.get('quant_algo')}".lower()
    is_short = settings.get("load_in_4bit") or "fp4" in kind or "torchao" in kind
    return 4 if is_short else 8


def _block(settings: Mapping[str, Any], method: Method) -> tuple[int, int] | None:
    """Return the rows and columns that share a scale, as far as they are stated."""
    stated = [settings.get("weight_block_size")]
    for group in _groups(settings):
        stated += [group.get("block_structure"), [1, group.get("group_size")]]
    for block in stated:
        sizes = block.split("x") if isinstance(block, str) else block
        if isinstance(sizes, list) and len(sizes) == 2:
            numbers = [int(n) for n in map(str, sizes) if n.isdecimal()]
            if len(numbers) == 2 and min(numbers) > 0:
                return numbers[0], numbers[1]
    return _USUAL_BLOCK if method is FP8 else None
