"""The sizes of an encoder. Apart from `families` so that search spaces can be read without loading PyTorch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from compressor.records import Size


@dataclass(frozen=True, kw_only=True)
class EncoderDimensions:
    """The sizes of a super-network's encoder that decide which sub-networks it has."""

    num_layers: Size
    num_heads: Size
    """Attention heads per layer."""
    num_units: Size
    """Hidden units per feed-forward block."""
    hidden_size: Size
    head_size: Size

    def to_json(self) -> dict[str, int]:
        """Return the sizes by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "EncoderDimensions":
        """Return the sizes of a form made by `to_json`."""
        return cls(**{field.name: value[field.name] for field in fields(cls)})
