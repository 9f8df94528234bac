"""Numbers that the engine computes with and the planner predicts with.

Both read them from here, so that a plan follows when one of them changes.
"""

from __future__ import annotations

from collections.abc import Mapping

from surgeon_engine.api.config.run import Dtype

# Bytes of a number, by its format in memory or in a file.
BYTES: Mapping[str, int] = {Dtype.FLOAT32: 4, Dtype.BFLOAT16: 2, Dtype.FLOAT16: 2}
FLOAT = BYTES[Dtype.FLOAT32]

# Logits that exist at once, as numbers; with a gradient, each of them has one.
LOGITS_AT_ONCE = 2**25
GRADIENT_LOGITS_AT_ONCE = 2**26

HELD_OUT = 4  # one of so many calibration windows judges dampings
OWN_WINDOWS_AT_ONCE = 64  # windows that the model writes

# Windows of general text for first-order gates. More change little. Shipped text has no
# chats, so a quarter of the windows are the model's own.
GATE_GENERAL_WINDOWS = 32
GATE_SHIPPED_WINDOWS = 24
_MUCH_TEXT = 64  # windows

# Held-out tokens on which costs of whole blocks, attentions and MLPs are measured.
DEPTH_TOKENS = 2048

# The share of the free memory that large tensors may take: hidden states on the device,
# all of them on the host.
DEVICE_SHARE, HOST_SHARE = 0.25, 0.5
SUMS_ON_HOST = 2**29  # bytes of the sum X'X of a refit, from which on it is on the host

STEP_WINDOWS = 2  # windows in a training step
EPOCH_OWN = 8  # the model writes one of so many general windows of an epoch
SHIPPED_TOKENS = 230_000  # about; 247,000 by the 49,152 tokens of SmolLM2
RECONSTRUCTION_EPOCHS = 2
TRAINING_CHECKS = 4  # measurements of the held-out windows
TRAINING_PASSES = 3.5  # a training epoch takes as long as so many forwards

# On a CPU, an attention of at most so many queries takes a part of them at a time, and
# holds their weights for gradients (`model/cpu_attention.py`).
ATTENTION_QUERIES, ATTENTION_AT_ONCE = 512, 64

# Neurons of an expert: torch multiplies the matrices of several experts at a time only
# if their rows are multiples of 16 bytes.
EXPERT_WIDTH_MULTIPLE = 8
EXPERT_MATRICES = 3  # matrices of a usual expert: a gated MLP
EXPERT_TOKENS = 2**13  # tokens of an expert in one step of its refit

# An export is verified by the logits of so many tokens, and the perplexity of windows.
PROBED_TOKENS = 64
PROBED_WINDOWS = 4
# Shares of the free memory: the most for weights that transformers holds whole then,
# and the part that it holds of larger ones.
CHECK_ROOM, CHECK_KEPT = 0.5, 0.25


def gate_draws(windows: int) -> int:
    """Return how often gates draw the labels of each of the user's windows.

    The second draw gains little, and even less on much text.
    """
    return 2 if windows <= _MUCH_TEXT else 1


def pinned_bytes(size: int) -> int:
    """Return the bytes of pinned memory for a tensor; torch takes a power of two."""
    return 1 << (size - 1).bit_length() if size else 0


# Bytes on the disk for measurements of originals that later runs find; the least
# recently used ones are deleted.
KEPT_BYTES = 2_000_000_000

# Bytes of a tensor's entry in the header of a file, approximately.
TENSOR_ENTRY = 110
# Bytes of the chat template and of the model's options there, approximately.
HEADER_OPTIONS = 20_000
