"""What goes from several layers at once. Imports neither torch nor Qt."""

from __future__ import annotations

from enum import StrEnum

from surgeon_engine.config import Structure


class Coupling(StrEnum):
    """What a group is."""

    HEADS = "heads"  # a key and value head with all query heads that share it
    NEURONS = "neurons"


COUPLINGS = {
    Structure.HEADS_AND_NEURONS: (Coupling.HEADS, Coupling.NEURONS),
    Structure.HEADS: (Coupling.HEADS,),
    Structure.NEURONS: (Coupling.NEURONS,),
}
