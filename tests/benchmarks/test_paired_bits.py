"""Two models with other tokens are compared on the same bytes."""

import torch

from benchmarks.paired_bits import same_bytes


def test_judged_tokens_of_both_models_are_the_same_bytes():
    # "ab|cde|f|gh" and "ab|c|de|f|g", cut before the end; then a window without a
    # common end.
    first = torch.tensor([[2, 3, 1, 2, 0], [3, 3, 3, 3, 3]])
    second = torch.tensor([[2, 1, 2, 1, 1], [4, 4, 1, 4, 4]])
    is_end = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    counted = same_bytes((first, second), (torch.ones_like(first) > 0, is_end))
    assert counted[0].tolist() == [[True, True, False, False], [False] * 4]
    assert counted[1].tolist() == [[True, True, True, False], [False] * 4]
    for sizes, is_counted in zip((first, second), counted, strict=True):
        assert (sizes[:, 1:] * is_counted).sum(dim=1).tolist() == [4, 0]
