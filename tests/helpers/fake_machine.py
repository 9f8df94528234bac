"""The machine that the fake engine reports."""

from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.api.config.run import Dtype
from surgeon_engine.api.messages.machine import Machine, Rates

COUPLINGS = {"self_attn.o_proj": "heads", "mlp.down_proj": "neurons"}
COUPLED = (  # kind, module, coupled layers (first by columns), number of groups
    (Coupling.HEADS, "self_attn", ("o_proj", "q_proj", "k_proj", "v_proj"), 3),
    (Coupling.NEURONS, "mlp", ("down_proj", "gate_proj", "up_proj"), 512),
)
PLENTY = 16_000_000_000  # bytes
PRODUCTS = {Dtype.FLOAT32: 5e10, Dtype.BFLOAT16: 5e10, Dtype.FLOAT16: 5e8}


def machine(free: int = PLENTY, gpu: int = 0, gpus: int = 1) -> Machine:
    """Return a machine with `free` bytes of RAM and GPUs with `gpu` bytes, if any."""
    rates = Rates(PRODUCTS, factorizing=1e10, moving=2e10, call=1e-6)
    return Machine(
        ram_bytes=max(free, PLENTY),
        free_ram_bytes=free,
        idle_bytes=250_000_000,
        gpu_name="a fake GPU" if gpu else "",
        gpu_bytes=gpu,
        free_gpu_bytes=gpu,
        gpu_count=gpus if gpu else 0,
        processor=rates,
        gpu=rates if gpu else None,
    )
