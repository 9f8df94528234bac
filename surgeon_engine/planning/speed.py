"""The seconds of a job's passes, by the operations of each and the rates of a machine.

    forward     2 operations for each token and weight that it uses, and attention; a
                token uses only the experts that it chooses
    covariance  2 n^2 for each token and factor of side n
    calls       a fixed time for each, most of the total in small models
    reading     offloaded blocks from main memory or the disk, while others compute

Constants are measured (docs/results.md).
"""

from __future__ import annotations

from surgeon_engine.api.config.run import Dtype
from surgeon_engine.planning.constants import FLOAT, OWN_WINDOWS_AT_ONCE
from surgeon_engine.planning.job import Job

DISK = 400e6  # bytes/s
_CALLS = 60  # operations of a block's forward
_BACKWARD_CALLS = 2.5  # backward operations per forward operation
# Share of large products' speed that a model's products reach: 0.2 at a width of 192
# (the demo), and nearly all of it from three times that width on (SmolLM2).
_EFFICIENCY, _WIDTH, _POWER, _MOST = 0.2, 192, 1.37, 0.9
_LOGIT_PASSES = 8  # over the logits, for their loss
_GRAPH_PASSES = 6  # over the activations of a block that are no products
_DEQUANTIZED = 40e6  # weights of a GGUF file turned into floats a second
# Over the keys and values of a window that is written, for each token: they are copied
# to be extended, and read.
_CACHE_PASSES = 3
_READS = 2.0  # reads of offloaded blocks for many batches: a window comes first
_SPREAD = 16  # windows that, one token each, choose about all experts


def products(job: Job) -> float:
    """Return the flop/s of products in the model's number format."""
    return job.rates.products[job.config.model.dtype] * _efficiency(job)


def fast_products(job: Job) -> float:
    """Return the flop/s of gates and recovery: of 16-bit inputs if they are faster."""
    half = job.rates.products[Dtype.BFLOAT16] * _efficiency(job)
    return max(products(job), half)


def loading(job: Job) -> float:
    """Return the time to read a model, and to dequantize it if need be."""
    seconds = (job.model.file_bytes + job.weights) / DISK
    if not job.model.dtype:  # it is quantized
        seconds += job.model.parameters / _DEQUANTIZED
    return seconds


def reading(job: Job) -> float:
    """Return the time to read all offloaded blocks.

    It passes while others compute. Where memory is too small to keep all of them, they
    come from the disk.
    """
    if not job.offloads:
        return 0.0
    if job.of_blocks > job.free_on_host:
        return job.of_blocks / DISK
    return job.of_blocks / job.rates.copying if job.rates.copying else 0.0


def forward(
    job: Job, windows: int, flops_per_second: float = 0.0, reads: float = _READS
) -> float:
    """Return the time to evaluate the loss on `windows` windows.

    `flops_per_second` is the speed of products; 0: as in the model's number format.
    `reads` says how often the weights of offloaded blocks are read, if there are as
    many batches.
    """
    tokens, model = job.length * windows, job.model
    flops = _block_flops(job) + _head_flops(job)
    logits = model.vocabulary * FLOAT * _LOGIT_PASSES
    computing = (
        tokens * flops / (flops_per_second or products(job))
        + tokens * (logits + _activations(job)) / job.rates.moving
        + _calls(job, windows)
    )
    return max(computing, min(reads, _batches(job, windows)) * reading(job))


def backward(
    job: Job, windows: int, draws: int, flops: float, flops_per_second: float
) -> float:
    """Return the time of gradients, with some more operations per token."""
    # Each block is read and runs again, and back for each draw.
    flops += (1 + draws) * _block_flops(job) + draws * _head_flops(job)
    tokens = job.length * windows
    computing = _BACKWARD_CALLS * _calls(job, windows)
    computing += (1 + draws) * tokens * _activations(job) / job.rates.moving
    computing += tokens * flops / flops_per_second
    before = forward(job, windows, flops_per_second)
    return before + max(computing, reading(job) if windows else 0.0)


def writing(job: Job, steps: int, windows: int = 1) -> float:
    """Return the time of passes over one token of each window, without the products.

    `steps` is the number of passes. The windows are written at once, and half of their
    tokens are there.
    """
    # Each window may choose other experts.
    idle = job.model.idle_parameters * max(0.0, 1 - (windows - 1) / _SPREAD)
    used = (job.model.parameters - idle) * job.each
    of_step = max(used / job.rates.moving, reading(job))
    kept = job.model.cache_width * job.each * windows * job.length / 2
    of_step += _CACHE_PASSES * kept / job.rates.moving
    return steps * (of_step + (job.model.blocks + 1) * _CALLS * job.rates.call)


def writing_windows(job: Job, windows: int) -> float:
    """Return the time to write windows with the model, many of them at once."""
    if not windows:
        return 0.0
    at_once = min(windows, OWN_WINDOWS_AT_ONCE)
    steps = -(-windows // OWN_WINDOWS_AT_ONCE) * job.length
    return forward(job, windows) + writing(job, steps, at_once)


def _efficiency(job: Job) -> float:
    return min(_MOST, _EFFICIENCY * (job.model.hidden_size / _WIDTH) ** _POWER)


def _block_flops(job: Job) -> int:
    """Return the operations of all blocks for a token."""
    attention = 4 * job.length * job.model.hidden_size * job.model.blocks
    return 2 * job.active_weights + attention


def _head_flops(job: Job) -> int:
    return 2 * job.model.vocabulary * job.model.hidden_size


def _activations(job: Job) -> float:
    """Return the bytes that a token reads and writes between the matrix products."""
    return sum(x.rows for x in job.used_layers) * job.each * _GRAPH_PASSES


def _batches(job: Job, windows: int) -> int:
    return -(-windows // job.config.calibration.batch)


def _calls(job: Job, windows: int) -> float:
    calls = (job.model.blocks + 1) * _CALLS * job.rates.call
    return _batches(job, windows) * calls
