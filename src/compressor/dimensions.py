"""The sizes of an encoder. Apart from `families` so that search spaces can be read without loading PyTorch."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class EncoderDimensions:
    """The sizes of a super-network's encoder that decide which sub-networks it has."""

    num_layers: int
    num_heads: int
    """Attention heads per layer."""
    num_units: int
    """Hidden units per feed-forward block."""
    hidden_size: int
    head_size: int

    def to_json(self) -> dict[str, int]:
        """The sizes by name."""
        return asdict(self)
