"""Jobs are read from small text files, whose paths start at the file."""

import json
import os

import pytest

from surgeon_engine.api.config.pruning import Structure, Widths
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import read_config
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.base.decoding import decode_json, encode_json
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import say
from surgeon_engine.model.vocabulary.scripts import LANGUAGES, script_names


@pytest.fixture
def job(tmp_path):
    """Return the path of a job."""
    return tmp_path / "job.toml"


def test_paths_of_a_job_start_at_its_file(job, tmp_path):
    names = [*LANGUAGES, *script_names()]
    job.write_text(
        "version = 1\n[model]\nsource = 'model'\n[calibration]\ntext = '../a.txt'\n"
        "[[calibration.more_texts]]\ntext = 'b.txt'\n"
        "[[calibration.more_texts]]\ntext = 'builtin'\n"
        "[evaluation]\ntexts = ['c.txt', 'builtin']\n"
        "[pruning]\nvocabulary = 'automatic'\n"
        f"kept_texts = {[*names, 'd.txt']}\n"
    )
    config = read_config(job)
    more = [each.text for each in config.calibration.more_texts]
    assert more == [str(tmp_path / "b.txt"), "builtin"]
    assert config.evaluation.texts == (str(tmp_path / "c.txt"), "builtin")
    kept = config.pruning.kept_texts
    assert kept == (*names, str(tmp_path / "d.txt"))
    assert config.model.source == str(tmp_path / "model")
    assert config.calibration.text == str(tmp_path.parent / "a.txt")
    assert config.calibration.validation_text == ""
    assert config.export.folder == ""


def test_unknown_user_in_a_path_is_kept(job, tmp_path):
    text = "version = 1\n[export]\nfolder = '~nobody-of-that-name/model'\n"
    job.write_text(text)
    assert read_config(job).export.folder == "~nobody-of-that-name/model"
    (tmp_path / "~nobody-of-that-name").mkdir()  # where the job is
    folder = str(tmp_path / "~nobody-of-that-name" / "model")
    assert read_config(job).export.folder == folder


def test_names_of_bundled_sources_are_not_resolved_as_paths(job):
    job.write_text("version = 1")
    assert read_config(job) == RunConfig()


def test_structure_of_a_job_that_names_none_is_that_of_its_model(job, tmp_path):
    sizes = {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 64}
    config = {"architectures": ["MixtralForCausalLM"], **sizes}
    (tmp_path / "mixture").mkdir()
    (tmp_path / "mixture" / "config.json").write_text(json.dumps(config))
    for source, named, structure in (
        ("mixture", "", Structure.EXPERTS_AND_NEURONS),
        ("mixture", "structure = 'heads'\n", Structure.HEADS),
        (
            "mixture",
            "structure = 'heads_and_neurons'\n",
            Structure.HEADS_AND_NEURONS,
        ),
        ("demo", "", Structure.HEADS_AND_NEURONS),
    ):
        job.write_text(
            f"[model]\nsource = '{source}'\n[pruning]\n{named}widths = 'same'\n"
        )
        found = read_config(job).pruning
        assert (found.structure, found.widths) == (structure, Widths.SAME)


def test_job_may_begin_with_a_byte_order_mark(job):
    """Some editors write one at the start of every file."""
    job.write_text("version = 1\n[pruning]\nshots = 7\n", encoding="utf-8-sig")
    assert read_config(job).pruning.shots == 7


def test_missing_job_raises_with_its_path(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[pruning", "not valid TOML"),
        ("version = 1\n[pruning]\nsparsity = 7\n", "sparsity"),
    ],
)
def test_error_in_a_job_file_names_the_file(job, text, problem):
    job.write_text(text)
    with pytest.raises(ConfigError, match=problem) as raised:
        read_config(job)
    assert raised.value.message.startswith(f"{job}: ")


def test_errors_in_a_job_file_reach_the_window(job):
    job.write_text("[pruning]\nsparsity = 30\nshots = 0\n")
    with pytest.raises(ConfigError) as raised:
        read_config(job)
    failed = Failed(say("The run has ended early. {error}", error=raised.value))
    assert decode_json(encode_json(failed), Failed) == failed
    assert failed.message.count("\n") == 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "a." * 200_000 + "a = 1",
        "[" + "a." * 200_000 + "a]",
        "x = [\n{" + "a . " * 5_000 + "a = 1}]",
        '"a".' * 5_000 + "a = 1",
        'x = {y = """\n""", a' + ".a" * 500_000 + ' = 1, z = """\n"""}',
        '# """\na' + ".a" * 500_000 + ' = 1 # """',
    ],
)
def test_job_with_endless_keys_is_refused(job, text):
    job.write_text(text)
    with pytest.raises(ConfigError, match="dots"):
        read_config(job)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "device", "large"])
def test_job_that_is_no_small_file_is_refused(job, kind):
    if kind == "pipe":
        os.mkfifo(job)
    elif kind == "device":
        job.symlink_to("/dev/zero")
    else:
        job.write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="job"):
        read_config(job)


def test_empty_job_is_refused(tmp_path):
    """A full disk may leave one, which would prune the demo."""
    for text in ("", "# a job\n"):
        (tmp_path / "job.toml").write_text(text)
        with pytest.raises(ConfigError, match=r"job\.toml is an empty job"):
            read_config(tmp_path / "job.toml")
