"""How much memory a batch of texts takes, in closed form: what a forward pass holds at its fullest moment."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compressor.network.dimensions import EncoderDimensions
    from compressor.network.sub_network import SubNetwork

BYTES = 4
"""Bytes of a number in fp32."""


def count_live_bytes(sub_network: "SubNetwork", dimensions: "EncoderDimensions", batch_size: int, length: int) -> int:
    """Return the bytes of all activations that are alive at once at the fullest moment of a forward pass.

    PyTorch in fp32 without gradients, fused attention, `batch_size` texts of `length` tokens with a padding mask. Of
    each token there are, H being the hidden size: in a block's last LayerNorm 7 H numbers; in attention the
    embeddings, the layer's input, query, key, value, context and a row of the mask; between the feed-forward products
    the embeddings, both residuals and the units before and after the activation. A model without layers holds 4 H.
    """
    hidden, peak = dimensions.hidden_size, 4 * dimensions.hidden_size
    for heads, units in zip(sub_network.heads, sub_network.units, strict=True):
        width = len(heads) * dimensions.head_size
        if heads:
            peak = max(peak, 7 * hidden, 2 * hidden + 4 * width + length)
        if units:
            peak = max(peak, 7 * hidden, 3 * hidden + 2 * len(units))
    mask = batch_size * length * length  # a byte for each pair of tokens
    return BYTES * batch_size * length * peak + mask
