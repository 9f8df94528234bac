"""A model is divided into units, without its protected layers."""

import pytest

from surgeon_engine.api.config.layer_patterns import matches
from surgeon_engine.api.config.pruning import BY_LAYER, SPARSE, Structure
from surgeon_engine.base.errors import PruningError
from surgeon_engine.model.coupling import structure_support
from surgeon_engine.model.layers import prunable_layers
from surgeon_engine.pruning.structures.units import units_of
from tests.helpers.configs import DENSE, DENSE_COUPLED, pruning_config
from tests.helpers.tiny_models import FAMILIES, tiny_model
from tests.helpers.units import pruning


def names(structure, *protect, family="llama"):
    units = units_of(pruning(structure, protect=protect), tiny_model(family))
    return [unit.measured.name for unit in units]


@pytest.mark.parametrize("structure", BY_LAYER + SPARSE)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_layer_is_a_unit(family, structure):
    expected = [layer.name for layer in prunable_layers(tiny_model(family))]
    assert names(structure, family=family) == expected


@pytest.mark.parametrize("structure", DENSE_COUPLED)
def test_every_consumer_is_a_unit(structure):
    attention, mlp = "self_attn.o_proj", "mlp.down_proj"
    kinds = {
        Structure.HEADS: [attention],
        Structure.NEURONS: [mlp],
        Structure.HEADS_AND_NEURONS: [attention, mlp],
    }
    assert names(structure) == [
        f"model.layers.{block}.{kind}" for block in (0, 1) for kind in kinds[structure]
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_structure_that_a_model_lacks_raises_with_the_reason(family):
    model = tiny_model(family)
    for support in structure_support(model):
        settings = pruning_config(support.structure)
        if support.supported:
            assert units_of(settings, model)
            continue
        with pytest.raises(PruningError) as error:
            units_of(settings, model)
        assert error.value.message == support.reason
        assert error.value.hint


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("model.layers.0.mlp.up_proj", 1),
        ("mlp.up_proj", 2),
        ("*.up_proj", 2),
        ("mlp.*", 6),
        ("block 1", 7),
        ("block *", 14),
        ("model.layers.1.*", 7),
        ("mlp.UP_proj", 0),  # names are names
        ("up_proj", 0),  # a kind is a whole kind
        ("block 11", 0),
    ],
)
def test_pattern_is_a_name_a_kind_or_a_block(pattern, covered):
    layers = prunable_layers(tiny_model("llama"))
    assert sum(matches(layer, pattern) for layer in layers) == covered


@pytest.mark.parametrize("structure", BY_LAYER + SPARSE)
def test_protected_layers_are_left_out(structure):
    left = names(structure, "block 0", "mlp.*")
    assert left == [f"model.layers.1.self_attn.{x}_proj" for x in "qkvo"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("mlp.gate_proj", ["0.self_attn.o_proj", "1.self_attn.o_proj"]),
        ("mlp.down_proj", ["0.self_attn.o_proj", "1.self_attn.o_proj"]),
        ("self_attn.v_proj", ["0.mlp.down_proj", "1.mlp.down_proj"]),
        ("block 0", ["1.self_attn.o_proj", "1.mlp.down_proj"]),
    ],
)
def test_group_is_protected_by_any_of_its_layers(pattern, left):
    found = names(Structure.HEADS_AND_NEURONS, pattern)
    assert found == [f"model.layers.{name}" for name in left]


@pytest.mark.parametrize("structure", DENSE)
def test_pattern_that_matches_nothing_raises(structure):
    with pytest.raises(PruningError, match=r"“block 7” protects no layer") as error:
        names(structure, "block 0", "block 7")
    assert "model.layers.0.self_attn.q_proj" in error.value.hint


@pytest.mark.parametrize(
    ("structure", "protect"),
    [
        *[(structure, ("*",)) for structure in DENSE],
        (Structure.HEADS, ("self_attn.q_proj",)),
        (Structure.NEURONS, ("block 0", "model.layers.1.mlp.up_proj")),
    ],
)
def test_protecting_everything_raises(structure, protect):
    with pytest.raises(PruningError, match="Everything that could be removed"):
        names(structure, *protect)


def test_layers_narrower_than_a_group_have_no_unit():
    model = tiny_model("llama")
    settings = pruning(Structure.N_M, pattern="19:20", sparsity=0.04)
    wide = {x.name for x in prunable_layers(model) if x.columns >= 20}
    assert 0 < len(wide) < len(prunable_layers(model))
    assert {unit.measured.name for unit in units_of(settings, model)} == wide
