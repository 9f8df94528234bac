"""Configs are read from TOML and written to it; wrong ones raise a clear error."""

import re
from dataclasses import replace

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.api.config.fields import settings_of, values_in_use, values_of
from surgeon_engine.api.config.pruning import (
    BY_ROUTING,
    SPARSE,
    CostBasis,
    Damping,
    Fisher,
    Method,
    PruningConfig,
    Schedule,
    Structure,
    Target,
    UpdateKind,
    Widths,
    methods_for,
)
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.config.samples import SamplesConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.base.errors import ConfigError
from tests.helpers.configs import DENSE

SHARES = (Target.PRUNABLE_SHARE, Target.PARAMETER_SHARE)
SURGEON = Method.LLM_SURGEON
RAW = {"cost_basis": CostBasis.RAW}
SAME = RAW | {"widths": Widths.SAME}
SETTINGS = {  # valid options of each kind
    Structure.HEADS_AND_NEURONS: SAME | {"width_multiple": 64},
    Structure.NEURONS: SAME | {"width_multiple": 32},
    Structure.HEADS: SAME,
    Structure.EXPERTS: SAME,
    Structure.EXPERTS_AND_NEURONS: SAME | {"width_multiple": 8},
    Structure.EXPERTS_HEADS_AND_NEURONS: SAME | {"width_multiple": 64},
    Structure.ROWS_AND_COLUMNS: RAW | {"update": UpdateKind.SEPARATE},
    Structure.ROWS: RAW,
    Structure.COLUMNS: RAW,
    Structure.N_M: {"pattern": "1:3", "max_correlated": 2000},
    Structure.ELEMENTS: {"max_correlated": 2000},
    Target.PRUNABLE_SHARE: {"sparsity": 0.125},
    Target.PARAMETER_SHARE: {"sparsity": 0.125},
    Target.PARAMETERS: {"million_parameters": 12.5},
    Target.FILE_SIZE: {"megabytes": 17.25},
    Target.MEMORY: {"memory_gigabytes": 7.5, "context": 2048},
    Damping.AUTOMATIC: {},
    Damping.FIXED: {"cost_damping": 0.02, "update_damping": 0.3},
}


@pytest.mark.parametrize("structure", Structure)
@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("damping", Damping)
def test_toml_round_trip_keeps_every_kind(structure, target, damping):
    if structure in SPARSE and target in (Target.FILE_SIZE, Target.MEMORY):
        pytest.skip("zeros make no file smaller")
    settings = SETTINGS[structure] | SETTINGS[target] | SETTINGS[damping]
    kinds = {"structure": structure, "target": target, "damping": damping}
    pruning = PruningConfig(**kinds, **settings)
    assert values_of(pruning).items() >= settings.items()
    config = RunConfig(ModelConfig("/models/a b"), pruning=pruning)
    assert config_from_toml(config_to_toml(config)) == config


MORE = (
    MoreText("b.jsonl", 0.25, column="story"),
    MoreText("hf://datasets/a/b", 0.125, dataset_config="long", split="test"),
)
DOTS = 'He said: "' + "..." * 1_000


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(),
        RunConfig(
            pruning=PruningConfig(
                Structure.N_M,
                pattern="1:3",
                max_correlated=2000,
                method=Method.SPARSEGPT,
                target=Target.PARAMETERS,
                million_parameters=12.5,
                max_perplexity_increase=5.0,
                shots=9,
                protect=("block 0", "*.down_proj"),
                min_density=0.1,
                layer_min_density=("block 1=0.5",),
                schedule=Schedule.CUBIC,
                fisher=Fisher.SAMPLED,
                damping=Damping.FIXED,
                cost_damping=0.02,
                update_damping=0.3,
            )
        ),
        RunConfig(calibration=CalibrationConfig(more_texts=MORE)),
        RunConfig(samples=SamplesConfig(after_shots=True, prompt="Dear")),
        RunConfig(samples=SamplesConfig(prompt=DOTS)),
    ],
)
def test_toml_round_trip_keeps_every_setting(config):
    assert config_from_toml(config_to_toml(config)) == config


def test_toml_has_the_settings_of_the_chosen_kinds():
    pruning = PruningConfig(Structure.N_M, pattern="1:3", sparsity=0.5)
    toml = config_to_toml(RunConfig(pruning=pruning))
    for lines in (
        'structure = "n_m"\npattern = "1:3"\nmax_correlated = 0\n',
        'target = "prunable_share"\nsparsity = 0.5\n',
        'damping = "automatic"\n',
    ):
        assert lines in toml


def test_share_of_a_pattern_may_be_rounded_to_three_digits():
    PruningConfig(Structure.N_M, pattern="1:3", sparsity=0.667)


def test_sparsegpt_has_a_fixed_damping():
    config = PruningConfig(Structure.ELEMENTS, method=Method.SPARSEGPT)
    assert config.damping is Damping.FIXED
    assert values_in_use(config)["cost_damping"] == 0.01


def test_only_single_weights_have_wanda():
    for structure in DENSE:
        has_wanda = Method.WANDA in methods_for(structure)
        assert has_wanda == (structure in SPARSE)
        assert Method.LLM_SURGEON in methods_for(structure)
        assert Method.REAP not in methods_for(structure)


def test_experts_alone_are_removed_by_their_routing():
    both = Structure.EXPERTS_HEADS_AND_NEURONS
    assert methods_for(both) == (Method.FIRST_ORDER,)
    assert methods_for(Structure.EXPERTS) == (Method.FIRST_ORDER, *BY_ROUTING)
    with pytest.raises(ConfigError, match="REAP does not remove heads") as error:
        PruningConfig(Structure.HEADS, method=Method.REAP)
    assert "magnitude" in error.value.hint


@pytest.mark.parametrize(
    ("pruning", "more", "fewer"),
    [
        (PruningConfig(Structure.N_M), {"pattern"}, {"cost_basis"}),
        (PruningConfig(target=Target.PARAMETERS), {"million_parameters"}, {"sparsity"}),
        (PruningConfig(target=Target.FILE_SIZE), {"megabytes"}, {"sparsity"}),
        (PruningConfig(target=Target.PARAMETER_SHARE), {"sparsity"}, {"megabytes"}),
        (
            PruningConfig(Structure.ROWS_AND_COLUMNS, method=SURGEON),
            {"update"},
            {"width_multiple"},
        ),
        (
            PruningConfig(Structure.ELEMENTS, method=SURGEON),
            {"max_correlated"},
            {"width_multiple"},
        ),
        (PruningConfig(method=SURGEON, damping=Damping.FIXED), {"cost_damping"}, set()),
        (
            PruningConfig(method=SURGEON),
            {"damping"},
            {"cost_damping", "update_damping"},
        ),
        (PruningConfig(), {"fisher"}, {"damping", "max_correlated"}),
        (PruningConfig(method=Method.MAGNITUDE), {"shots"}, {"damping", "fisher"}),
        (
            PruningConfig(Structure.ELEMENTS, method=Method.SPARSEGPT),
            {"cost_damping"},
            {"damping", "update_damping", "max_correlated"},
        ),
    ],
)
def test_values_in_use_are_those_of_the_kinds_and_the_method(pruning, more, fewer):
    assert more <= values_in_use(pruning).keys()
    assert not fewer & values_in_use(pruning).keys()


def test_settings_of_other_kinds_are_reset():
    pruning = PruningConfig(Structure.N_M, pattern="3:8", widths=Widths.SAME)
    assert pruning == PruningConfig(Structure.N_M, pattern="3:8")
    assert replace(pruning, structure=Structure.HEADS) == PruningConfig(Structure.HEADS)


def test_settings_that_two_kinds_share_are_kept():
    raw = PruningConfig(Structure.ROWS, cost_basis=CostBasis.RAW)
    columns = replace(raw, structure=Structure.COLUMNS)
    assert columns == PruningConfig(Structure.COLUMNS, cost_basis=CostBasis.RAW)


@pytest.mark.parametrize("sparsity", [-0.1, 0.96, 1.0, float("nan")])
@pytest.mark.parametrize("target", SHARES)
def test_sparsity_out_of_range_raises_with_the_range(target, sparsity):
    with pytest.raises(ConfigError, match=r"must be at least 0 and at most 0\.95"):
        PruningConfig(target=target, sparsity=sparsity)


def test_share_of_zero_removes_nothing():
    for target in SHARES:
        assert PruningConfig(target=target, sparsity=0.0).removes_nothing
        assert not PruningConfig(target=target, sparsity=0.1).removes_nothing
    assert not PruningConfig(target=Target.FILE_SIZE, megabytes=1.0).removes_nothing


WRONG = {
    "[pruning]\n": [
        ("sparsity = 1.5", r"\[pruning\] sparsity is 1.5, and must be at least 0"),
        ("sparsty = 0.5", "pruning has no setting called “sparsty”"),
        ("sparsity = 2026-01-01", "sparsity is 2026-01-01, and must be a number"),
        ("shots = 'two'", "shots is “two”, and must be a whole number, at le"),
        ("structure = 'layers'", "structure has no choice called “layers”"),
        ("target = 3", "pruning.target has no choice called “3”"),
        ("method = 'guess'", "method has no choice called “guess”"),
        ("widths = 'odd'", "pruning.widths has no choice called “odd”"),
        (
            "structure = 'heads'\nwidth_multiple = 64",
            "width_multiple does not belong to the structure of this job",
        ),
        (
            "sparsity = 'half'",
            "pruning.sparsity is “half”, and must be a number, at least 0",
        ),
        (
            "target = 'file_size'\nmegabytes = 0",
            "megabytes is 0.0, and must be more than 0",
        ),
        ("damping = 'fixed'\ncost_damping = -1", "cost_damping is -1.0, and must be"),
        ("megabytes = 9", "or set target to file_size"),
        (
            "method = 'llm_surgeon'\ncost_damping = 0.1",
            "cost_damping does not belong to the damping of this job",
        ),
        ("protect = [1, 'a']", "entry of pruning.protect is 1, and must be"),
        ("method = 'wanda'", "Wanda does not remove heads and neurons"),
        ("structure = 'elements'\ntarget = 'file_size'", "do not make files smaller"),
    ],
    "": [
        ("[evaluation]\nbefore_recovery = 1", "recovery is 1, and must be true or f"),
        ("[prunning]\nshots = 2", "The job has no part called “prunning”"),
        (
            "[pruning.structure]\nkind = 'n_m'",
            'structure has no choice called “{kind = "n_m"}”',
        ),
        ("[calibration]\nmore_texts = [3]", "entry of calibration.more_texts is 3, an"),
        ("pruning = 3", "pruning is 3, and must be a table"),
        (
            "[[pruning]]\nsparsity = 0.3\nmethod = 'wanda'",
            r'pruning is \[{sparsity = 0.3, method = "wanda"}\], and must be a table',
        ),
        ("[pruning", "not valid TOML"),
        ("[model]\nsource = ' '", "No model was given"),
        ("[calibration]\nmore_texts = 3", "more_texts is 3, and must be a list"),
    ],
    "[[calibration.more_texts]]\ntext = 'a.txt'\n": [
        (
            "share = 'half'",
            "calibration.more_texts.share is “half”, and must be a number, more than 0",
        ),
        ("rows = 3", "calibration.more_texts has no setting called “rows”"),
        ("share = 1.0", "share is 1.0, and must be more than 0 and less than 1"),
        ("split = 'test'", "a.txt is not a dataset"),
        (
            "share = 0.5\n[[calibration.more_texts]]\ntext = 'b.txt'\nshare = 0.5",
            "shares of 1 together, which leaves no window for the main text",
        ),
    ],
    "[[calibration.more_texts]]\n": [
        ("share = 0.5", "An entry of calibration.more_texts has no text."),
        ("text = 'a.npy'", "a.npy is a token file, which cannot be a further text"),
        ("text = 'hf://a/b'", "not the name of a dataset"),
        ("text = ''", "No calibration text was given"),
    ],
    "[pruning]\nstructure = 'n_m'\n": [
        ("pattern = '4:2'", "nothing. Keep fewer weights"),
        ("pattern = '2/4'", "“2/4” is not a pattern"),
        (
            "pattern = '0:4'",
            "N of the pattern 0:4 is 0, and must be at least 1 and at most 31",
        ),
        (
            "pattern = '2:64'",
            "M of the pattern 2:64 is 64, and must be at least 2 and at most 32",
        ),
        ("pattern = '16:32'", "There are 601,080,390 ways"),
        (
            "sparsity = 0.6",
            "2:4 removes at most 50 % of the weights, but the target is 60 %",
        ),
    ],
}


@pytest.mark.parametrize(
    ("job", "sentence"),
    [(part + job, sentence) for part in WRONG for job, sentence in WRONG[part]],
)
def test_wrong_job_raises_a_clear_error(job, sentence):
    with pytest.raises(ConfigError) as raised:
        config_from_toml(f"version = 1\n{job}")
    assert re.search(sentence, f"{raised.value} {raised.value.hint}")


@pytest.mark.parametrize(
    ("job", "problems"),
    [
        (
            '[pruning]\nsparsity = 150\nshots = "two"\nmethd = "x"\n'
            '[calibration]\nwindows = -3\n[export]\ndtype = "q3_k"',
            [
                "[pruning] sparsity is 150",
                "pruning.shots is “two”",
                "pruning has no setting called “methd”",
                "[calibration] windows is -3",
                "export.dtype has no choice called “q3_k”",
            ],
        ),
        (  # the target has the megabytes
            '[pruning]\ntarget = "file_size"\nmegabytes = 0\n"" = 1\n[a]\n',
            ["[pruning] megabytes is 0", "called “”", "no part called “a”"],
        ),
        (  # max_correlated may belong to the structure that was meant
            '[pruning]\nstructure = "nm"\nmax_correlated = 9\nprotect = [1]',
            ["“nm”", "entry of pruning.protect is 1"],
        ),
    ],
)
def test_each_wrong_value_of_a_job_is_named(job, problems):
    with pytest.raises(ConfigError) as raised:
        config_from_toml(job)
    lines = raised.value.message.splitlines()
    assert len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert problem in line


@pytest.mark.parametrize(
    ("settings", "pruning"),
    [
        ("", PruningConfig()),
        (
            'structure = "heads_and_neurons"\nsparsity = 0.3\nwidths = "same"',
            PruningConfig(widths=Widths.SAME),
        ),
        (
            'structure = "n_m"\npattern = "1:3"\ntarget = "parameters"\n'
            'million_parameters = 2.25\ndamping = "fixed"\ncost_damping = 0.05',
            PruningConfig(
                Structure.N_M,
                pattern="1:3",
                target=Target.PARAMETERS,
                million_parameters=2.25,
                damping=Damping.FIXED,
                cost_damping=0.05,
            ),
        ),
        ("sparsity = 0.2", PruningConfig(sparsity=0.2)),
    ],
)
def test_job_is_read_with_its_values(settings, pruning):
    config = config_from_toml(f"version = 1\n[pruning]\n{settings}")
    assert config == RunConfig(pruning=pruning)


@pytest.mark.parametrize("part", [CalibrationConfig, PruningConfig, ExportConfig])
def test_every_number_has_a_range_that_contains_its_default(part):
    for setting in settings_of(part).values():
        if setting.type in (int, float):
            assert setting.option.limits.contain(setting.default), setting.name


def test_more_texts_may_be_datasets():
    config = RunConfig(calibration=CalibrationConfig(more_texts=MORE))
    assert config.calibration.uses_datasets
    config.check_consistency()


@pytest.mark.parametrize(
    ("windows", "shares", "counts"),
    [
        (64, (), (64,)),
        (64, (0.25, 0.125), (40, 16, 8)),
        (10, (0.25,), (8, 2)),
        (3, (0.01, 0.9), (1, 0, 2)),  # one window is left for the main text
        (1, (0.9,), (1, 0)),
    ],
)
def test_more_texts_take_their_shares_of_the_windows(windows, shares, counts):
    more = tuple(MoreText(f"{share}.txt", share) for share in shares)
    found = CalibrationConfig(windows=windows, more_texts=more).window_counts
    assert found == counts


def test_token_file_cannot_be_mixed():
    calibration = CalibrationConfig("a.npy", "builtin", more_texts=MORE)
    with pytest.raises(ConfigError, match="so there is no share for 2 further texts"):
        RunConfig(calibration=calibration).check_consistency()


def test_job_cannot_allow_to_replace_files():
    with pytest.raises(ConfigError, match="“replace”") as error:
        config_from_toml("version = 1\n[export]\nreplace = true")
    assert "Allow it when you start the run" in error.value.hint


def test_prompt_of_spaces_is_refused():
    with pytest.raises(ConfigError, match="prompt"):
        SamplesConfig(prompt=" ")


def test_whole_blocks_are_removed_on_one_gpu():
    pruning = PruningConfig(dropped_blocks=1)
    config = RunConfig(pruning=pruning)
    config.check_consistency()
    with pytest.raises(ConfigError, match="cannot be removed on 2 GPUs"):
        RunConfig(ModelConfig(gpus=2), pruning=pruning).check_consistency()
    with pytest.raises(ConfigError, match="cannot be removed on 4 GPUs"):
        config.check_gpus(4)  # processes of torchrun


def test_dots_in_a_text_are_no_keys():
    job = f"version = 1\n[samples]\nprompt = '''\n{DOTS}''' # {DOTS}\n"
    assert config_from_toml(job).samples.prompt == DOTS


def test_unknown_choice_is_answered_with_all_choices():
    with pytest.raises(ConfigError) as caught:
        config_from_toml("[export]\ndtype = 'q3_k'")
    assert caught.value.message == "export.dtype has no choice called “q3_k”."
    assert caught.value.hint == f"Choose one of: {', '.join(FileDtype)}."


@pytest.mark.parametrize(
    ("job", "meant"),
    [
        ("[pruning]\nsparcity = 0.5", "sparsity"),
        ("[prunning]\nsparsity = 0.5", "pruning"),
        ("[pruning]\nstructure = 'neuron'", "neurons"),
        ("[[calibration.more_texts]]\ntext = 'a.txt'\nshares = 0.5", "share"),
    ],
)
def test_close_name_is_asked_for(job, meant):
    with pytest.raises(ConfigError) as caught:
        config_from_toml(job)
    assert caught.value.hint.startswith(f"Did you mean “{meant}”?")
    assert all(f"{x}, " not in caught.value.hint for x in settings_of(PruningConfig))
