"""Divide mixers with a state of fixed size among their heads.

The heads of a gated delta rule are those of its keys; each has some heads of values,
with their gates and with channels of the convolution.
"""

from __future__ import annotations

from surgeon_engine.base.errors import PruningError
from surgeon_engine.base.sentences import say
from surgeon_engine.model.division import (
    Block,
    Division,
    Match,
    check_heads_are_separate,
)
from surgeon_engine.model.families import Part


def delta_heads_of(match: Match, block: Block) -> Division:
    """Divide a gated delta rule among the heads of its keys.

    Raises:
        PruningError: They depend on each other.
    """
    module = block.module.get_submodule(match.module)
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


def _check_several(groups: int, match: Match) -> None:
    if groups < 2:
        raise PruningError(
            say(
                "All heads of {module} are one group, and the last group of a block is "
                "always kept: there are no heads to remove.",
                module=match.module,
            )
        )
