"""The prompts that judge a model."""

import itertools
from collections import Counter

import pytest

from surgeon_engine.api.messages.judgment import Probe
from surgeon_engine.base.errors import ConfigError, UnreadableFileError
from surgeon_engine.judging.items import NEEDLES, all_items


def test_each_probe_has_items_and_each_prompt_is_there_once():
    items = all_items("", 4096, quick=False)
    counts = Counter(item.probe for item in items)
    assert counts.keys() == {None, *Probe} - {Probe.CONTINUATION}
    assert all(20 <= counts[x] <= 60 for x in counts if x not in NEEDLES)
    assert len({item.prompt for item in items}) == len(items)
    assert not any(item.is_right("") for item in items if item.probe is not None)


def test_quick_takes_a_third_of_each_probe():
    whole = Counter(x.probe for x in all_items("", 4096, quick=False))
    third = Counter(x.probe for x in all_items("", 4096, quick=True))
    assert all(abs(third[x] - whole[x] / 3) <= 1 for x in whole)


def test_needles_are_in_texts_of_three_lengths():
    items = [x for x in all_items("", 2048, quick=False) if x.probe in NEEDLES]
    lengths = {x: [len(y.prompt) for y in items if y.probe is x] for x in NEEDLES}
    for probe, tokens in zip(NEEDLES, (128, 256, 512), strict=True):
        assert all(3 * tokens < n < 5 * tokens + 200 for n in lengths[probe])
    for item in items:
        number = item.prompt.split("is ")[1:]
        found = [x[:4] for x in number if x[:4].isdigit()]
        assert len(found) == 1
        assert item.is_right(found[0])
        assert not item.is_right(str(int(found[0]) + 1))
    starts = [x.prompt[:400] for x in items]
    assert sum(a == b for a, b in itertools.pairwise(starts)) > len(items) / 3
    depths = [x.prompt.index("The secret number") / len(x.prompt) for x in items]
    assert min(depths) == 0
    assert max(depths) > 0.7


def test_prompts_of_the_user_come_first(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("Hello?\n\nWho are you?\n")
    first, second, third, *_ = all_items(str(path), 4096, quick=True)
    assert [x.prompt for x in (first, second)] == ["Hello?", "Who are you?"]
    assert [x.is_own for x in (first, second, third)] == [True, True, False]


def test_prompts_may_be_lines_of_json(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"prompt": "One?"}\n"T\u2028wo?"\n{"id": 1, "question": "Three?"}\n'
    )
    found = [x.prompt for x in all_items(str(path), 4096, quick=True) if x.is_own]
    assert found == ["One?", "T\u2028wo?", "Three?"]


@pytest.mark.parametrize("line", ["{", '{"id": 1}', "3", '{"prompt": ""}', "[" * 9999])
def test_line_without_a_prompt_is_named(line, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(f'"One?"\n\n{line}\n')
    with pytest.raises(ConfigError, match=r"^Line 3 of .* holds no prompt"):
        all_items(str(path), 4096, quick=False)


def test_files_without_prompts_are_refused(tmp_path):
    path = tmp_path / "prompts.txt"
    with pytest.raises(UnreadableFileError):
        all_items(str(path), 4096, quick=False)
    path.write_text("\n \n")
    with pytest.raises(ConfigError, match="holds 0 prompts"):
        all_items(str(path), 4096, quick=False)
    path.write_text("Hello?\n" * 1001)
    with pytest.raises(ConfigError, match="holds 1,001 prompts"):
        all_items(str(path), 4096, quick=False)
