"""The pruning methods: how costs are computed and kept weights are updated."""

from __future__ import annotations

from surgeon_engine.api.config import pruning as config
from surgeon_engine.pruning.methods.base import PruningMethod
from surgeon_engine.pruning.methods.first_order import FirstOrder
from surgeon_engine.pruning.methods.llm_surgeon import LlmSurgeon
from surgeon_engine.pruning.methods.quadratic import KObd, LObd, Magnitude, Wanda
from surgeon_engine.pruning.methods.routing import Reap, RoutingFrequency
from surgeon_engine.pruning.methods.sparsegpt import SparseGpt

METHODS: dict[config.Method, PruningMethod] = {
    config.Method.LLM_SURGEON: LlmSurgeon(),
    config.Method.FIRST_ORDER: FirstOrder(),
    config.Method.K_OBD: KObd(),
    config.Method.L_OBD: LObd(),
    config.Method.MAGNITUDE: Magnitude(),
    config.Method.SPARSEGPT: SparseGpt(),
    config.Method.WANDA: Wanda(),
    config.Method.REAP: Reap(),
    config.Method.ROUTING_FREQUENCY: RoutingFrequency(),
}
