"""The preview of a smaller vocabulary, by the tokenizer and the texts alone."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from surgeon_engine.api.config.calibration import BUILTIN_TEXT, CalibrationConfig
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.base.calls import Refused
from surgeon_engine.base.decoding import encode_json, json_decoder
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.calibration.fenced import preview_vocabulary
from surgeon_engine.calibration.vocabulary_preview import _hit, _windows
from surgeon_engine.calibration.windows import Vocabulary
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.model.source import locate
from surgeon_engine.model.tokenizer import kept_tokenizer
from surgeon_engine.model.vocabulary.tokens import token_table
from surgeon_engine.runtime.failures import failure

pytestmark = pytest.mark.slow

MODEL = ModelConfig(source=DEMO)
SHORT = CalibrationConfig(windows=8, validation_windows=8, window_length=64)
RARE = "Zyx qwv jkq xzz wvu kqj vxw zqk. "  # words that no merge was made for


@cache
def preview(tokens: int, *keep: str, config: CalibrationConfig = SHORT):
    return preview_vocabulary(MODEL, config, tokens, keep)


def losses(found) -> dict[str, int]:
    return {each.script: each.removed for each in found.scripts}


def test_kept_tokens_and_removed_parameters_are_counted():
    model, found = inspect_model(MODEL).model, preview(1_500)
    assert (found.tokens, found.kept) == (model.vocabulary, 1_500)
    removed = model.vocabulary - 1_500
    assert found.parameters == removed * model.hidden_size  # tied with the head
    assert found.share == pytest.approx(found.parameters / model.parameters)
    assert found.file_bytes == 2 * found.parameters  # the demo has 16 bits
    assert sum(losses(found).values()) == removed
    assert not found.is_typical


def test_fewer_tokens_make_texts_longer():
    many, few = (preview(tokens).texts[0] for tokens in (1_900, 600))
    assert many.text == BUILTIN_TEXT
    assert many.tokens == 8 * 64
    assert few.longer > many.longer >= 0
    assert few.share > many.share
    assert few.longer > 0.2


def test_number_that_removes_no_token_is_refused():
    assert preview(2_047).kept == 2_047
    for tokens in (2_048, 99_999_999):
        with pytest.raises(ConfigError, match=r"2,048 tokens") as raised:
            preview(tokens)
        assert raised.value.settings == ("vocabulary_tokens",)


def test_automatic_choice_shows_two_thirds():
    found = preview_vocabulary(MODEL, SHORT, None)
    assert found.is_typical
    assert found.kept == round(2_048 * 2 / 3)


def test_kept_script_loses_no_tokens():
    assert losses(preview(1_900))["Latin"] > 0
    kept = preview(1_900, "Latin")
    assert losses(kept)["Latin"] == 0
    assert 1_668 < kept.least <= 1_900  # tokens of the script, and others


def test_too_few_tokens_are_refused_with_the_least_number():
    least = preview(2_047).least
    assert preview(least).kept == least
    with pytest.raises(ConfigError, match=f"fewer than {least:,} tokens"):
        preview(least - 1)


def test_script_is_hit_where_many_of_its_tokens_in_the_text_are_removed():
    assert preview(1_900).hit == ()
    (hit,) = preview(600).hit
    assert hit.script == "Latin"
    assert 0.5 < hit.of_text < 1
    assert 0.05 < hit.share < 1


def test_rows_without_a_token_hit_no_script():
    table = token_table(kept_tokenizer(locate(DEMO)))
    letters = [n for n, piece in enumerate(table.pieces) if piece == b"e"]
    text = np.array([*letters, table.size + 5])
    (hit,) = _hit(text, table, letters)
    assert (hit.script, hit.of_text, hit.share) == ("Latin", 1, 1)


def test_users_text_stands_before_the_builtin_one(tmp_path):
    path = tmp_path / "rare.txt"
    path.write_text(RARE * 200)
    own, builtin = preview(600, config=replace(SHORT, text=str(path))).texts
    assert (own.text, builtin.text) == (str(path), BUILTIN_TEXT)
    assert own.share < builtin.share  # its tokens were counted


def test_builtin_text_has_as_many_windows_as_it_can(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text(RARE * 1_000)
    config = CalibrationConfig(
        text=str(path), windows=1, validation_windows=1, window_length=8_192
    )
    _, judging = _windows(locate(DEMO), config, Vocabulary(2_048, 0))
    assert judging[str(path)].shape == (1, 8_192)
    count, length = judging[BUILTIN_TEXT].shape  # depends on the Python version
    assert (0 < count < 32, length) == (True, 8_192)


def test_unknown_language_is_refused():
    with pytest.raises(ConfigError, match="Klingon") as caught:
        preview(1_500, "Klingon")
    passed_on = json_decoder(Refused)(encode_json(Refused.by(caught.value))).error
    assert failure(passed_on).settings == ("kept_texts",)
