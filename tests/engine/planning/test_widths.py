"""A width multiple that leaves nothing to remove is refused."""

import pytest

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.base.errors import PruningError
from surgeon_engine.planning.widths import check_width_multiple
from tests.helpers.configs import pruning_config
from tests.helpers.fake_results import model_summary

MODEL = model_summary()
WIDEST = max(x.groups for x in MODEL.coupled)


@pytest.mark.parametrize("structure", [Structure.NEURONS, Structure.HEADS_AND_NEURONS])
def test_multiple_beyond_all_widths_is_refused(structure):
    fitting = pruning_config(structure, width_multiple=WIDEST - 1)
    check_width_multiple(fitting, MODEL)
    wide = pruning_config(structure, width_multiple=WIDEST + 1)
    with pytest.raises(PruningError, match=f"have at most {WIDEST} neurons"):
        check_width_multiple(wide, MODEL)


def test_run_that_keeps_all_weights_may_have_any_multiple():
    nothing = pruning_config(sparsity=0.0, width_multiple=WIDEST + 1)
    assert nothing.removes_nothing
    check_width_multiple(nothing, MODEL)
