"""Vocabulary trimming: tokens that the user's texts do not need go, with their rows of the embedding table.

What is kept tokenizes the user's texts exactly as before: the ids map one to one, and so the logits are equal. Other
texts stay representable, since all single characters (bytes) are kept; some are cut into more pieces than before.

Why the pieces stay the same, by the kind of tokenizer: WordPiece takes the longest piece that fits, and the longest
one is still there. BPE applies the merge of the lowest rank, and all merges that were applied are still there. Unigram
takes the best path, and that is still there, with the worst score by which unknown characters are judged.
"""

import json
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from compressor.data.batches import EncodedRows
from compressor.errors import ModelError, ParityError
from compressor.files import local_path, read_lines
from compressor.network.checkpoints import load_tokenizer
from compressor.network.families import get_family

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_FILE = "tokenizer.json"
_PREFIX = "##"
"""The prefix of WordPiece's pieces that continue a word."""
_SPACE = "▁"
"""SentencePiece's."""


@dataclass(frozen=True, kw_only=True)
class TrimmedVocabulary:
    """A tokenizer with fewer tokens."""

    tokenizer: "PreTrainedTokenizerBase"
    kept: np.ndarray
    """The old ids of the new tokens, ascending: new id i was kept[i]."""

    def map_ids(self, ids: np.ndarray) -> np.ndarray:
        """Return the new ids of old ones; −1 where a token is gone."""
        # Ids beyond the largest kept one would lie behind the end.
        places = np.searchsorted(self.kept, ids).clip(max=len(self.kept) - 1)
        return np.where(self.kept[places] == ids, places, -1)

    def require_same_tokens(self, before: Sequence[np.ndarray], after: Sequence[np.ndarray], what: str) -> None:
        """Raise unless texts have the tokens that they had, renumbered.

        Raises:
            ParityError: some have not.
        """
        if share := self.share_changed(before, after):
            raise ParityError(
                f"the trimmed tokenizer must cut the {what} as the whole one does, but {share:.1%} of them are cut "
                "otherwise. Leave the vocabulary as it is."
            )

    def share_changed(self, before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> float:
        """Return the share of texts that are cut into other tokens than before, by the ids of each."""
        pairs = zip(before, after, strict=True)
        return float(np.mean([not np.array_equal(self.map_ids(ids), found) for ids, found in pairs]))


def split_tokens(rows: EncodedRows) -> list[np.ndarray]:
    """Return the ids of each text of some rows."""
    return np.split(rows.columns["input_ids"], rows.offsets[1:-1])


def align_words(outputs: np.ndarray, new: EncodedRows, old: EncodedRows, unread: int) -> np.ndarray:
    """Return outputs [units, …] about the words of trimmed rows as outputs about the words that are judged.

    More pieces leave room for fewer words of a long row: one that is no longer read is answered by output `unread`.
    """
    if old.units is None:
        return outputs
    aligned = np.zeros((len(old.labels), *outputs.shape[1:]), dtype=outputs.dtype)
    aligned[:, unread] = 1
    for (first, end), (new_first, new_end) in zip(pairwise(old.unit_bounds), pairwise(new.unit_bounds), strict=True):
        count = min(end - first, new_end - new_first)
        aligned[first : first + count] = outputs[new_first : new_first + count]
    return aligned


def trim_vocabulary(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    counts: np.ndarray,
    *,
    min_count: int = 1,
    num_more: int = 0,
) -> TrimmedVocabulary:
    """Take the tokens that texts do not need from a model, in place, and make the tokenizer without them.

    `counts` [vocabulary] says how often each token occurs in the user's texts. Kept are special and added tokens,
    tokens that occur at least `min_count` times, single characters or bytes, and the `num_more` most frequent others.

    Raises:
        ModelError: the tokenizer is of a kind that cannot be trimmed, or the padding token would have to move.
    """
    trimmed = trim_tokenizer(tokenizer, counts, min_count=min_count, num_more=num_more)
    kept = trimmed.kept
    padding = model.config.pad_token_id
    if get_family(model.config.model_type).counts_positions_from_padding and padding is not None:
        found = int(trimmed.map_ids(np.array([padding]))[0])
        if found != padding:
            raise ModelError(
                f"a model that counts positions from its padding token must keep that token's id, but {padding} would "
                f"become {found}. Leave the vocabulary as it is."
            )
    cut_embeddings(model, kept)
    # Ids that a configuration names, such as eos_token_id, move with their tokens; None where the token has gone.
    for name, value in list(model.config.to_dict().items()):
        if name.endswith("_token_id") and isinstance(value, int):
            place = int(trimmed.map_ids(np.array([value]))[0])
            setattr(model.config, name, place if place >= 0 else None)
    return trimmed


def trim_tokenizer(
    tokenizer: "PreTrainedTokenizerBase", counts: np.ndarray, *, min_count: int = 1, num_more: int = 0
) -> TrimmedVocabulary:
    """Make the tokenizer without the tokens that texts do not need; see `trim_vocabulary`.

    Raises:
        ModelError: the tokenizer is of a kind that cannot be trimmed.
    """
    content = _read_backend(tokenizer)
    kept = choose_tokens(content, counts, min_count=min_count, num_more=num_more)
    return TrimmedVocabulary(tokenizer=_rebuild(tokenizer, keep_tokens(content, kept)), kept=kept)


def count_tokens(ids: Iterable[np.ndarray], vocab_size: int) -> np.ndarray:
    """Return how often each token occurs, [vocab_size]."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for part in ids:
        counts += np.bincount(part, minlength=vocab_size)
    return counts


def encode_lines(tokenizer: "PreTrainedTokenizerBase", file: str) -> list[np.ndarray]:
    """Return the tokens of the lines of a text file.

    Raises:
        FileError: it is not there, or no UTF-8 text.
    """
    return ids_of(tokenizer, read_lines(local_path(file)))


def ids_of(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[np.ndarray]:
    """Return the tokens of texts, uncut."""
    return [np.asarray(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]] if texts else []


def choose_tokens(content: Mapping[str, Any], counts: np.ndarray, *, min_count: int, num_more: int) -> np.ndarray:
    """Return the ids, ascending, that a tokenizer keeps; `content` is that of its `tokenizer.json`.

    Raises:
        ModelError: it is of a kind that cannot be trimmed.
    """
    model, vocabulary = content["model"], _vocabulary_of(content)
    # Special tokens, and those that a user added: templates and code name them.
    kept = {entry["id"] for entry in content.get("added_tokens", ())}
    kept |= {int(token) for token in np.flatnonzero(counts >= max(min_count, 1))}
    kept |= {vocabulary[token] for token in _representing(model, vocabulary)}
    known = np.array(sorted(vocabulary.values()))
    others = known[~np.isin(known, list(kept))]
    # Of equals the first one, which tokenizers have for the commoner token.
    order = np.argsort(-counts[others], kind="stable")
    kept |= {int(token) for token in others[order[:num_more]]}
    # Last, when all others are known: a merged token is reached through its parts alone.
    if model["type"] == "BPE":
        kept |= _sources_of(model, vocabulary, kept)
    return np.array(sorted(kept))


def keep_tokens(content: Mapping[str, Any], kept: np.ndarray) -> dict[str, Any]:
    """Return the content of a `tokenizer.json` with these tokens alone, renumbered from 0 in their order."""
    # Old order is kept: Unigram's ties and BPE's ranks go by it, and an early padding id stays where it is.
    places = {int(old): new for new, old in enumerate(kept)}
    model = dict(content["model"])
    # Ids of Unigram are places in its list; the other kinds write them beside the tokens.
    if model["type"] == "Unigram":
        model["vocab"] = [entry for old, entry in enumerate(model["vocab"]) if old in places]
        model["unk_id"] = None if model.get("unk_id") is None else places[model["unk_id"]]
    else:
        model["vocab"] = {token: places[old] for token, old in model["vocab"].items() if old in places}
    # A merge of BPE is of use only where both parts and what they make are left.
    if model["type"] == "BPE":
        whole = model["vocab"]
        pairs = map(_pair, model["merges"])
        model["merges"] = [[a, b] for a, b in pairs if a in whole and b in whole and a + b in whole]
    added = [{**entry, "id": places[entry["id"]]} for entry in content.get("added_tokens", ())]
    new = {**content, "model": model, "added_tokens": added}
    if content.get("post_processor"):
        # It holds the ids of the special tokens that it puts around a text.
        new["post_processor"] = _renumber(content["post_processor"], places)
    if content.get("padding"):
        new["padding"] = {**content["padding"], "pad_id": places[content["padding"]["pad_id"]]}
    return new


def _read_backend(tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"a tokenizer must have a {TOKENIZER_FILE} to be trimmed, but {type(tokenizer).__name__} has none. Save it "
            "as a fast tokenizer, or leave the vocabulary as it is."
        )
    content: dict[str, Any] = json.loads(backend.to_str())
    return content


def _rebuild(tokenizer: "PreTrainedTokenizerBase", content: Mapping[str, Any]) -> "PreTrainedTokenizerBase":
    """Return a tokenizer of the same class and settings from another `tokenizer.json`."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for file in Path(folder).iterdir():
            if file.name not in (TOKENIZER_FILE, "tokenizer_config.json"):
                file.unlink()  # a vocabulary in another form, which would win
        settings = json.loads((Path(folder) / "tokenizer_config.json").read_text())
        settings.pop("added_tokens_decoder", None)  # with the old ids
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(settings))
        (Path(folder) / TOKENIZER_FILE).write_text(json.dumps(content))
        return load_tokenizer(folder)


def _vocabulary_of(content: Mapping[str, Any]) -> dict[str, int]:
    """Return the tokens of a model without those that were added, and their ids."""
    model = content["model"]
    if model["type"] == "Unigram":
        return {piece: place for place, (piece, _) in enumerate(model["vocab"])}
    if model["type"] not in ("WordPiece", "BPE", "WordLevel"):
        raise ModelError(
            f"a tokenizer must be WordPiece, BPE, Unigram or WordLevel to be trimmed, but is {model['type']}. Leave "
            "the vocabulary as it is."
        )
    return dict(model["vocab"])


def _representing(model: Mapping[str, Any], vocabulary: Mapping[str, int]) -> set[str]:
    """Return tokens without which some text could not be written any more, or would be judged otherwise."""
    kept = {token for token in vocabulary if token.startswith("<0x") and token.endswith(">")}  # bytes
    kept |= {token for token in (str(model.get("unk_token")), _SPACE) if token in vocabulary}
    if model["type"] == "WordPiece":
        prefix = model.get("continuing_subword_prefix", _PREFIX)
        return kept | {token for token in vocabulary if len(token.removeprefix(prefix)) == 1}
    if model["type"] == "BPE":
        made = {"".join(_pair(merge)) for merge in model["merges"]}
        return kept | {token for token in vocabulary if token not in made and len(token) == 1}
    if model["type"] == "Unigram":
        # Unigram scores an unknown character by the worst score less a penalty: without that piece all such texts
        # change.
        worst = min(score for _, score in model["vocab"])
        kept |= {piece for piece, score in model["vocab"] if score == worst}
        if model.get("unk_id") is not None:
            kept.add(model["vocab"][model["unk_id"]][0])
        return kept | {piece for piece in vocabulary if len(piece.removeprefix(_SPACE)) == 1}
    return kept


def _sources_of(model: Mapping[str, Any], vocabulary: Mapping[str, int], kept: Collection[int]) -> set[int]:
    """Return what BPE's kept tokens are merged from, step by step."""
    ranks = {_pair(merge): rank for rank, merge in enumerate(model["merges"])}
    names = {place: token for token, place in vocabulary.items()}
    found: set[int] = set()
    for token in (names[place] for place in kept if place in names):
        parts: Sequence[str] = list(token)
        while len(parts) > 1:
            # As BPE does when it reads a word: the pair of the lowest rank first, everywhere in the word.
            best = min(pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
            if best not in ranks:
                break
            parts = _merge(parts, best)
            found.add(vocabulary["".join(best)])
    return found


def _merge(parts: Sequence[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    place = 0
    while place < len(parts):
        both = tuple(parts[place : place + 2]) == pair
        merged.append("".join(pair) if both else parts[place])
        place += 2 if both else 1
    return merged


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    """Return a merge of a `tokenizer.json`, old form or new."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _renumber(processor: Mapping[str, Any], places: Mapping[int, int]) -> dict[str, Any]:
    """Return a post-processor with the new ids of the tokens that it adds."""
    new = dict(processor)
    for name in ("sep", "cls"):  # of BertProcessing and RobertaProcessing
        if isinstance(new.get(name), list):
            token, place = new[name]
            new[name] = [token, places[place]]
    if isinstance(new.get("special_tokens"), dict):
        new["special_tokens"] = {
            name: {**entry, "ids": [places[place] for place in entry["ids"]]}
            for name, entry in new["special_tokens"].items()
        }
    if "processors" in new:
        new["processors"] = [_renumber(inner, places) for inner in new["processors"]]
    return new


def cut_embeddings(model: "PreTrainedModel", kept: np.ndarray) -> None:
    """Leave a model these rows of its embedding table, in place."""
    old = model.get_input_embeddings()
    assert isinstance(old, nn.Embedding)
    rows = torch.from_numpy(kept).to(old.weight.device)
    # None too where a configuration calls a token padding that is not the tokenizer's, and that has gone.
    padding = next((place for place, token in enumerate(kept.tolist()) if token == old.padding_idx), None)
    new = nn.Embedding(len(kept), old.embedding_dim, padding_idx=padding, device="meta")
    new.weight = nn.Parameter(old.weight.detach().index_select(0, rows), requires_grad=old.weight.requires_grad)
    model.set_input_embeddings(new)
    model.config.vocab_size = len(kept)
