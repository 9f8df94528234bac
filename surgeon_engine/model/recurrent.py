"""Divide mixers with a state of fixed size among their heads.

The heads of a gated delta rule are those of its keys; each has some heads of values,
with their gates and with channels of the convolution. The groups of a Mamba 2 mixer are
those that share what is read into the state and out of it.
"""

from __future__ import annotations

from typing import Any

from surgeon_engine.base.errors import PruningError
from surgeon_engine.model.division import (
    Block,
    Division,
    Match,
    check_heads_are_separate,
    features_error,
    joint_norm_error,
)
from surgeon_engine.model.rules import Part


def delta_heads_of(match: Match, block: Block) -> Division:
    """Divide a gated delta rule among the heads of its keys.

    Raises:
        PruningError: They depend on each other.
    """
    module: Any = block.module.get_submodule(match.module)
    keys, values = int(module.num_k_heads), int(module.num_v_heads)
    _check_several(keys, match)
    check_heads_are_separate(match, block, int(module.head_v_dim), {keys, values})
    heads = values // keys
    rows = {
        Part.QUERY: int(module.head_k_dim),
        Part.KEY: int(module.head_k_dim),
        Part.VALUE: heads * int(module.head_v_dim),
        Part.GATE: heads * int(module.head_v_dim),
        Part.HEAD: heads,
    }
    return Division(keys, rows)


def mamba_groups_of(match: Match, block: Block) -> Division:
    """Divide a Mamba 2 mixer among its groups of heads.

    Raises:
        PruningError: They depend on each other.
    """
    module: Any = block.module.get_submodule(match.module)
    heads, groups = int(module.num_heads), int(module.n_groups)
    values = int(module.intermediate_size)
    _check_norm_of_each_group(match, block)
    _check_several(groups, match)
    for name, buffer in module.named_buffers():
        if buffer.numel() > 1:
            raise features_error(match.name(name), buffer.numel())
    check_heads_are_separate(match, block, values // groups, {heads, groups})
    rows = {
        Part.GATE: values // groups,
        Part.VALUE: values // groups,
        Part.STATE: int(module.ssm_state_size),
        Part.HEAD: heads // groups,
    }
    return Division(groups, rows)


def _check_norm_of_each_group(match: Match, block: Block) -> None:
    """Check that the norm of the output, if there is one, is that of each group."""
    module: Any = block.module.get_submodule(match.module)
    norm, values = getattr(module, "norm", None), int(module.intermediate_size)
    if not hasattr(norm, "weight"):
        return
    size = int(getattr(norm, "group_size", values))
    if module.n_groups == 1 or size * module.n_groups != values:
        raise joint_norm_error(match.name("norm"), size, int(module.head_dim))


def _check_several(groups: int, match: Match) -> None:
    if groups < 2:
        raise PruningError(
            "All heads of {module} are one group, and the last group of a block is "
            "always kept: there are no heads to remove.",
            module=match.module,
        )
