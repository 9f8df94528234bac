"""The two kinds of stiffness, each with the dense definition of its costs."""

from __future__ import annotations

import pytest
from torch import Tensor

from surgeon_engine.pruning.costs import Stiffness
from surgeon_engine.runtime import linalg
from tests.helpers.tensors import plain_cost_dense, removal_cost_dense


def adapted(M: Tensor) -> Stiffness:
    """Return the stiffness of a factor if the kept weights adapt to removals."""
    return Stiffness(linalg.inverse(M), is_inverse=True)


KINDS = [
    pytest.param(adapted, removal_cost_dense, id="OBS"),
    pytest.param(Stiffness, plain_cost_dense, id="OBD"),
]
