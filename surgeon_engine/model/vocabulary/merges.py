"""The pair of tokens that each token of a byte pair encoding is merged from.

Several merges may make one token ("a" + "bc", "ab" + "c"). The encoding applies one of
them wherever the token occurs in a text: the one that it applies to the token's own
text. (Nothing that is merged inside the token depends on what is around it, or the
token would not arise.) A token is therefore found as long as the two tokens of that
merge are.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from surgeon_engine.model.vocabulary.definition import Definition

_Pair = tuple[int, int]


def parts_of(definition: Definition) -> dict[int, _Pair]:
    """Return the pair that each token is merged from.

    Tokens that the merges do not make from their own text have none: characters, bytes,
    and tokens that never occur, or only as whole words (`ignore_merges`).
    """
    ids = definition.ids
    made: dict[_Pair, tuple[int, int]] = {}
    for rank, (left, right) in enumerate(definition.merges):
        if left in ids and right in ids and left + right in ids:
            made[ids[left], ids[right]] = rank, ids[left + right]
    names = definition.names
    parts = {}
    for token in {token for _, token in made.values()}:
        name = names[token]
        symbols = [ids.get(character, -1) for character in name or ""]
        pair = _last_merge(symbols, made)
        if pair is not None and made[pair][1] == token:
            parts[token] = pair
    return parts


def _last_merge(
    symbols: list[int], made: Mapping[_Pair, tuple[int, int]]
) -> _Pair | None:
    """Merge symbols to one token; return the last pair, None if several tokens remain.

    The pair that comes first in the list of merges is merged first, from left to right.
    """
    unknown = (len(made), -1)  # its rank comes after all others
    while len(symbols) > 2:
        pairs = list(pairwise(symbols))
        found = [made.get(pair, unknown) for pair in pairs]
        best = min(found)
        if best is unknown:
            return None
        at = found.index(best)
        symbols[at : at + 2] = [best[1]]
    pair = (symbols[0], symbols[-1])
    return pair if len(symbols) == 2 and pair in made else None
