"""The search spaces: which sub-networks exist and how one is drawn (Klein et al., TMLR 2024, section 3, and others).

A space is one small class: its Syne Tune config space, its size, a seeded draw, and the way from a config to a
sub-network and back. "The first k" heads or units are the first in the super-network's own order. To add a space,
write its class and list it in `SEARCH_SPACES`; the contract tests take it from there.
"""

from collections.abc import Sequence

from compressor.errors import SearchSpaceError
from compressor.network.dimensions import EncoderDimensions
from compressor.spaces.large import LargeSpace
from compressor.spaces.layers import LayerSpace, SublayerSpace
from compressor.spaces.medium import MediumSpace
from compressor.spaces.small import SmallOrderedSpace, SmallPowerOfTwoSpace, SmallSpace
from compressor.spaces.space import SearchSpace

SEARCH_SPACES: dict[str, type[SearchSpace]] = {
    space.name: space
    for space in (
        SmallOrderedSpace,
        SmallSpace,
        SmallPowerOfTwoSpace,
        MediumSpace,
        LayerSpace,
        SublayerSpace,
        LargeSpace,
    )
}


def create_search_space(name: str, dimensions: EncoderDimensions, layer_order: Sequence[int] = ()) -> SearchSpace:
    """Return the search space of that name over an encoder of these sizes, whose layers have this order of importance.

    Raises:
        SearchSpaceError: there is no such space; the message lists those there are.
    """
    if name not in SEARCH_SPACES:
        raise SearchSpaceError(
            f"the search space must be one of {', '.join(SEARCH_SPACES)}, but got {name!r}. Correct --search-space."
        )
    return SEARCH_SPACES[name](dimensions, tuple(layer_order))
