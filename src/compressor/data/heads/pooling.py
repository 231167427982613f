"""From the vectors of tokens to one vector per text, and how sentence-transformers writes that down in a directory.

The configuration of a model of ours notes the same, so that the model carries it whatever lies beside.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import ModelError, shorten
from compressor.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

NOTE = "sentence_embedding"
"""The field of a configuration that notes the pooling."""
MODULES_FILE, _LENGTH, _SETTINGS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
POOLING_FOLDER = "1_Pooling"


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """How the vectors of a text's tokens become its own, and what belongs to that."""

    mode: str = "mean"
    """A key of `POOLINGS`."""
    normalize: bool = False
    """Whether vectors have length 1."""
    max_length: int | None = None
    """Tokens, special ones included; longer texts are cut. None: what the encoder has positions for."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """What users of the model may put before a text, by name."""
    default_prompt_name: str | None = None
    """Which of them stands before every text."""
    similarity: str = "cosine"
    """What tells how near two vectors are, as sentence-transformers names it."""

    @property
    def prompt(self) -> str:
        """What stands before every text."""
        return self.prompts.get(self.default_prompt_name or "", "")

    def pool(self, tokens: "Tensor", mask: "Tensor") -> "Tensor":
        """Return one vector per text [batch, hidden] of the vectors of its tokens [batch, length, hidden]."""
        from torch.nn.functional import normalize

        vectors = POOLINGS[self.mode](tokens, mask)
        return normalize(vectors, dim=-1) if self.normalize else vectors


def _mean(tokens: "Tensor", mask: "Tensor") -> "Tensor":
    weights = mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1e-9)  # a text of padding alone


def _first(tokens: "Tensor", mask: "Tensor") -> "Tensor":
    return tokens[:, 0]


def _max(tokens: "Tensor", mask: "Tensor") -> "Tensor":
    return tokens.masked_fill(mask.unsqueeze(-1) == 0, -1e9).amax(1)  # below every activation, and finite in float32


POOLINGS: dict[str, "Callable[[Tensor, Tensor], Tensor]"] = {"mean": _mean, "cls": _first, "max": _max}
"""By the names of sentence-transformers."""


def pooling_of(config: Any) -> Pooling:
    """Return the pooling that a configuration notes; the mean where it notes none.

    Raises:
        ModelError: what it notes is no pooling.
    """
    noted = getattr(config, NOTE, None)
    if noted is None:
        return Pooling()
    try:
        pooling = Pooling(**noted)
        if pooling.mode not in POOLINGS:
            raise ValueError(f"its mode is {pooling.mode!r}")
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{NOTE} in config.json must be a pooling, but is not: {shorten(error)}. Restore the file as it was saved."
        ) from None
    return pooling


def note_pooling(config: Any, source: str, max_length: int | None = None) -> None:
    """Write into the configuration of a model how a directory (or a name on the Hub) pools its tokens."""
    pooling = read_pooling(source)
    if pooling is None:
        pooling = pooling_of(config)
    setattr(config, NOTE, asdict(replace(pooling, max_length=max_length or pooling.max_length)))


def read_pooling(source: str) -> Pooling | None:
    """Return the pooling of a sentence-transformers directory, or of such a model on the Hub; None where it is none.

    Raises:
        ModelError: it has modules that are none of ours, or its files are not as it saves them.
        FileError: one of them is no JSON.
    """
    modules = _read(source, MODULES_FILE)
    if modules is None:
        return None
    try:
        kinds = [str(entry["type"]).rpartition(".")[2] for entry in modules]
        paths = [str(entry["path"]) for entry in modules]
        # The pooling's folder is named by the list of modules; a model without such a module is refused below, with its
        # kinds.
        written = _read(source, f"{paths[1]}/config.json") or {} if kinds[1:2] == ["Pooling"] else {}
        length, settings = _read(source, _LENGTH) or {}, _read(source, _SETTINGS) or {}
        # Since version 5 one field says it, before one flag for each mode.
        modes = written.get("pooling_mode") or [
            _OLD_MODES[key] for key, value in written.items() if key in _OLD_MODES and value
        ]
        modes = modes if isinstance(modes, list) else [modes]
        prompts = {str(name): str(text) for name, text in (settings.get("prompts") or {}).items()}
        # A limit may be missing or null, which both mean none; its kind is checked where it is used.
        default, limit = settings.get("default_prompt_name"), length.get("max_seq_length")
        similarity = settings.get("similarity_fn_name") or "cosine"
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ModelError(
            f"the files of a sentence-transformers model must be as it saves them, but those of {source} are not "
            f"({shorten(error)}). Save the model again."
        ) from None
    # Other modules, such as a Dense layer, change the embedding: leaving one out would be another model.
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ModelError(
            f"a sentence-transformers model must be made of Transformer, Pooling and, at most, Normalize, but {source} "
            f"is made of {', '.join(kinds)}. Choose another model."
        )
    # Old files may set several flags, which concatenates poolings; that has another width than the encoder.
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ModelError(
            f"the pooling of a sentence-transformers model must be one of {', '.join(POOLINGS)}, but that of {source} "
            f"is {', '.join(map(str, modes)) or 'not stated'}. Choose another model."
        )
    pooling = Pooling(
        mode=modes[0],
        normalize=kinds[-1] == "Normalize",
        max_length=limit if isinstance(limit, int) and limit > 0 else None,
        prompts=prompts,
        default_prompt_name=default if default in prompts else None,
        similarity=str(similarity),
    )
    # How many tokens a prompt has would have to be known where they are pooled.
    if pooling.prompt and not written.get("include_prompt", True):
        raise ModelError(
            f"a prompt must be pooled with the text that it stands before, but {source} leaves it out. "
            "Choose another model."
        )
    return pooling


_OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The fields that sentence-transformers wrote up to version 5, which every version reads."""


def _read(source: str, name: str) -> Any:
    """Return a JSON file of a directory or of a name on the Hub; None where there is none.

    Raises:
        FileError: it is broken.
    """
    file = Path(source) / name
    if not Path(source).is_dir():
        from transformers.utils.hub import cached_file

        try:
            found = cached_file(source, name)
        except (OSError, ValueError):  # not on the Hub, or the Hub is out of reach
            return None
        file = Path(found)
    return read_json(file) if file.is_file() else None


def write_pooling(directory: Path, config: Any) -> None:
    """Make a model's directory one that `SentenceTransformer(directory)` loads."""
    pooling, package = pooling_of(config), "sentence_transformers.models"
    kinds = ["Transformer", "Pooling", *(["Normalize"] if pooling.normalize else [])]
    modules = [
        {"idx": place, "name": str(place), "path": f"{place}_{kind}" if place else "", "type": f"{package}.{kind}"}
        for place, kind in enumerate(kinds)
    ]
    (directory / POOLING_FOLDER).mkdir(exist_ok=True)
    write_json(directory / MODULES_FILE, modules)
    modes = {key: mode == pooling.mode for key, mode in _OLD_MODES.items()}
    write_json(directory / POOLING_FOLDER / "config.json", {"word_embedding_dimension": config.hidden_size, **modes})
    write_json(directory / _LENGTH, {"max_seq_length": pooling.max_length, "do_lower_case": False})
    settings = {
        "prompts": dict(pooling.prompts),
        "default_prompt_name": pooling.default_prompt_name,
        "similarity_fn_name": pooling.similarity,
    }
    write_json(directory / _SETTINGS, settings)
