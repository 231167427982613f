"""Tokenised rows and batches without padding waste: like lengths go together, a batch is padded to its longest row."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from compressor.data.heads import form_of
from compressor.data.heads.answers import digest_reference, find_reference, load_reference
from compressor.data.metrics.ratios import Structure, read_tags
from compressor.data.rows import Rows, TaskData
from compressor.data.storage.tokens import new_column, open_column, open_columns, open_kept_column, write_columns
from compressor.data.tasks import Task
from compressor.device import Pieces, to_device
from compressor.progress import progress_bar

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Batch = dict[str, Tensor]
"""Model inputs by name: [batch, length], or [batch, choices, length]; `UNITS` beside them where words are judged."""

UNITS = "units"
"""In a batch: where the outputs that are judged stand among batch × length, [units]. Absent where rows are judged."""

CALL_TOKENS = 64
"""What a call of a network costs beside its tokens, in tokens: 31 of a base-size encoder, 92 of the demo's."""

_AT_ONCE = 1000
"""Rows that are tokenised at once."""
_SHOWN_FROM = 50_000
"""Rows whose tokenising takes long enough to be shown."""
_POOL = 50
"""Training sorts pools of so many batches by length: little padding, and still shuffled."""


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """Tokenised rows, ragged: text i holds tokens offsets[i] … offsets[i + 1] of each column."""

    columns: dict[str, np.ndarray]
    """Token columns end to end (`input_ids`, and `token_type_ids` where the tokenizer makes them), whole numbers;
    those of many rows are mapped files."""
    offsets: np.ndarray
    labels: np.ndarray
    """What is judged, unit by unit in the order of the rows: [units, …]."""
    num_choices: int
    """Texts per row: 1, or the number of endings for multiple choice."""
    takes_choices: bool
    """Whether inputs have an axis of choices."""
    pad_values: dict[str, int]
    units: np.ndarray | None = None
    """The token of each unit, ascending; None where the rows themselves are the units."""
    structure: Structure | None = None
    """How units hang together, if they do."""
    reference: np.ndarray | None = None
    """A frozen model's outputs [units, …], where those are to be learnt and not labels."""

    def __len__(self) -> int:
        return (len(self.offsets) - 1) // self.num_choices

    @cached_property
    def unit_bounds(self) -> np.ndarray:
        """Row i has the units bounds[i] … bounds[i + 1]."""
        if self.units is None:
            return np.arange(len(self) + 1) * self.outputs_per_row
        return np.searchsorted(self.units, self.offsets.astype(self.units.dtype))

    @property
    def outputs_per_row(self) -> int:
        """Outputs of a row that is a unit itself: one, or one for each of its texts."""
        return 1 if self.takes_choices else self.num_choices

    @property
    def targets(self) -> np.ndarray:
        """What a model learns, unit by unit: the labels, or a frozen model's outputs."""
        return self.labels if self.reference is None else self.reference

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, or of its longest text."""
        lengths: np.ndarray = np.diff(self.offsets).reshape(len(self), self.num_choices).max(axis=1)
        return lengths

    @property
    def median_length(self) -> int:
        """Tokens of the median row."""
        return int(np.median(self.lengths))


_temporary_cache: Path | None = None


@contextmanager
def temporary_cache() -> Iterator[None]:
    """Keep tokens in a temporary folder for the time of the block, and leave the user's cache alone."""
    global _temporary_cache
    with tempfile.TemporaryDirectory() as folder:
        before, _temporary_cache = _temporary_cache, Path(folder)
        try:
            yield
        finally:
            _temporary_cache = before


def encode(rows: Rows, task: Task, tokenizer: "PreTrainedTokenizerBase", max_positions: int) -> EncodedRows:
    """Return the rows as tokens, cut at the task's maximal length or at what the model has positions for.

    The tokens are kept in a folder of the cache of `datasets`, keyed by rows, tokenizer and length.
    """
    max_length, head = min(task.max_length, max_positions), task.head
    # All that tokens depend on. Stripped, so that the keys of caches from before there were prompts still fit.
    asked = f"{rows.digest} {_fingerprint(tokenizer)} {max_length} {head.name} {task.prompt}".rstrip()
    folder = _kept_in_cache(asked)
    # Not only whether there are any: what cleans a cache up by the age of its files may leave some.
    wanted = {_LENGTHS, *((_WORDS,) if head.labels_words else ()), *(_KINDS.keys() & tokenizer.model_input_names)}
    if not wanted <= (columns := open_columns(folder)).keys():
        write_columns(folder, _tokenize(rows, task, tokenizer, max_length))
        columns = open_columns(folder)
    lengths = columns.pop(_LENGTHS)
    structure = None if rows.groups is None else Structure(groups=rows.groups)
    judged: dict[str, Any] = {"labels": rows.labels, "structure": structure}
    if head.labels_words:
        judged = _judge_words(rows, columns.pop(_WORDS), lengths, task.label_names)
    encoded = EncodedRows(
        columns=columns,
        offsets=np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
        **judged,
        num_choices=len(lengths) // len(rows),
        takes_choices=head.form.takes_choices,
        pad_values={"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id},
        reference=rows.reference,
    )
    # Rows of several texts are scored pairs: they are judged by people's scores, not by the frozen model's outputs.
    if task.reference is None or encoded.outputs_per_row > 1:
        return encoded
    return replace(encoded, reference=_answers_of(task.reference, rows, task, max_positions))


def _tokenize(
    rows: Rows, task: Task, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the columns of some rows at a time, end to end, and how many tokens each text has."""
    options: dict[str, Any] = {
        "truncation": True,
        "max_length": max_length,
        "is_split_into_words": task.head.labels_words,
    }
    hidden = len(rows) < _SHOWN_FROM
    with progress_bar(total=len(rows), unit="row", desc="tokens", disable=hidden) as bar:
        for start in range(0, len(rows), _AT_ONCE):
            some = Rows(texts=rows.texts[start : start + _AT_ONCE], labels=rows.labels[start : start + _AT_ONCE])
            first, second = task.head.to_texts(some, task)
            # A call with truncation leaves that set in a fast tokenizer, which `save_pretrained` would write into
            # tokenizer.json.
            with _same_afterwards(tokenizer):
                tokens = tokenizer(*(texts for texts in (first, second) if texts is not None), **options)
            found = {name: tokens[name] for name in _KINDS if name in tokens}
            if task.head.labels_words:
                found[_WORDS] = [_first_pieces(tokens.word_ids(row)) for row in range(len(first))]
            columns = {
                name: np.fromiter(chain.from_iterable(values), _KINDS.get(name, np.int32))
                for name, values in found.items()
            }
            yield columns | {_LENGTHS: np.asarray([len(ids) for ids in tokens["input_ids"]], dtype=np.int32)}
            bar.update(len(some))


_KINDS = {"input_ids": np.int32, "token_type_ids": np.int8}
"""The columns that are inputs of a model, and how they are kept."""


def _kept_in_cache(asked: str) -> Path:
    """Return where the cache keeps what is asked for."""
    from datasets.config import HF_DATASETS_CACHE

    folder = _temporary_cache or Path(HF_DATASETS_CACHE) / "mlflow-compressor"
    return folder / hashlib.sha256(asked.encode()).hexdigest()[:32]


def _answers_of(reference: str, rows: Rows, task: Task, max_positions: int) -> np.ndarray:
    """Return the outputs [units, …] of the frozen model that a task learns.

    It reads the rows with its own tokenizer: that of a sub-network may have lost tokens.
    """
    source = find_reference(reference)
    asked = f"{rows.digest} {digest_reference(source)} {min(task.max_length, max_positions)} {task.head.name}"

    def open_model() -> "tuple[PreTrainedModel, EncodedRows]":
        model, tokenizer = load_reference(source, task.head.form)
        return model, encode(rows, replace(task, reference=None), tokenizer, max_positions)

    return kept_outputs(f"{asked} {task.prompt}", open_model)


def kept_outputs(asked: str, open_model: "Callable[[], tuple[PreTrainedModel, EncodedRows]]") -> np.ndarray:
    """Return the outputs [units, …] of a model that does not change, to rows as it reads them.

    They are kept in the cache with the tokens; `asked` says all that they depend on, and the model is opened where they
    are not there.
    """
    file = _kept_in_cache(asked).with_suffix(".npy")
    if (kept := open_kept_column(file)) is not None:
        return kept
    model, own = open_model()
    batches = iterate_batches(own, evaluation_picks(own, 64))
    # The first batch tells the shape of the outputs, by which the file is made before the others are computed.
    first = next(answers := compute_each(model, batches))
    with new_column(file, (int(own.unit_bounds[-1]), *first[1].shape[1:])) as column:
        for places, outputs in chain([first], answers):
            column[places] = outputs
    return open_column(file)


def join_rows(first: EncodedRows, second: EncodedRows) -> EncodedRows:
    """Return the rows of both, of the same task and tokenizer, those of the second behind the others."""

    def shifted(ours: np.ndarray | None, theirs: np.ndarray | None, by: int) -> np.ndarray | None:
        return None if ours is None or theirs is None else np.concatenate([ours, theirs + by])

    structure = None
    if first.structure is not None and second.structure is not None:
        groups = shifted(first.structure.groups, second.structure.groups, int(first.structure.groups.max()) + 1)
        assert groups is not None
        structure = replace(first.structure, groups=groups)
    num_tokens = int(first.offsets[-1])
    return replace(
        first,
        columns={name: np.concatenate([values, second.columns[name]]) for name, values in first.columns.items()},
        offsets=np.concatenate([first.offsets, second.offsets[1:] + num_tokens]),
        labels=np.concatenate([first.labels, second.labels]),
        units=shifted(first.units, second.units, num_tokens),
        structure=structure,
    )


def with_reference(data: TaskData, validation: EncodedRows, test: EncodedRows) -> TaskData:
    """Return the data with a frozen model's outputs in place of the labels, where those are to be learnt."""
    if validation.reference is None or test.reference is None:
        return data
    return replace(
        data,
        validation=replace(data.validation, labels=validation.reference),
        test=replace(data.test, labels=test.reference),
    )


_WORDS, _LENGTHS = "words", "lengths"
"""Columns beside those of the tokens: the number of the word that begins at each, else -1; the tokens of each text."""


def _first_pieces(words: Sequence[int | None]) -> list[int]:
    """Return the number of the word that begins at each token, else -1."""
    return [-1 if word is None or word == before else word for word, before in zip(words, (None, *words), strict=False)]


def _judge_words(rows: Rows, words: np.ndarray, lengths: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Return what is judged of words: their first pieces, with the labels of those words and the rows they stand in."""
    # Word numbers start again in each row: place = where the row's labels begin + number of the word in it.
    units = np.flatnonzero(words >= 0).astype(np.int32 if len(words) < 2**31 else np.int64)  # there may be many
    of_rows = np.repeat(np.arange(len(rows)), lengths)[units]
    counts = np.fromiter(map(len, rows.labels), np.int64, len(rows))
    labels = np.fromiter(chain.from_iterable(rows.labels), np.int64, int(counts.sum()))
    structure = Structure(groups=of_rows, tags=read_tags(names))
    return {
        "labels": labels[(np.cumsum(counts) - counts)[of_rows] + words[units]],
        "units": units,
        "structure": structure,
    }


@dataclass(frozen=True, kw_only=True)
class EncodedParts:
    """Tokenised rows of a task in their three parts."""

    train: EncodedRows
    validation: EncodedRows
    test: EncodedRows


def encode_parts(data: TaskData, tokenizer: "PreTrainedTokenizerBase", max_positions: int) -> EncodedParts:
    """Return the rows of a task as tokens; see `encode`."""
    train, validation, test = (encode(rows, data.task, tokenizer, max_positions) for rows in data.parts.values())
    return EncodedParts(train=train, validation=validation, test=test)


def units_of(rows: EncodedRows, picked: np.ndarray) -> np.ndarray:
    """Return the places of the picked rows' units among all: where their labels and outputs stand."""
    if rows.units is None and rows.outputs_per_row == 1:
        return picked
    return np.concatenate([np.arange(rows.unit_bounds[row], rows.unit_bounds[row + 1]) for row in picked])


def count_units(rows: EncodedRows, picked: np.ndarray) -> int:
    """Return how many units the picked rows have."""
    return int((rows.unit_bounds[picked + 1] - rows.unit_bounds[picked]).sum())


def outputs_of(model: "PreTrainedModel", batch: Batch) -> Tensor:
    """Return what a model answers to a batch on its device: float32 outputs [units, …], in the order of the rows."""
    inputs = inputs_of(batch)
    outputs = form_of(model).read(model(**inputs), inputs["attention_mask"], model.config)
    return select_units(outputs.float(), batch)


def inputs_of(batch: Batch) -> Batch:
    """Return a batch without what is no input of a model."""
    return {name: values for name, values in batch.items() if name != UNITS}


def select_units(outputs: Tensor, batch: Batch) -> Tensor:
    """Return the outputs [units, …] that are judged, of a model's for a batch: [batch, …], or [batch, length, …]."""
    return outputs.flatten(0, 1)[batch[UNITS]] if UNITS in batch else outputs


def collate(rows: EncodedRows, picked: np.ndarray) -> Batch:
    """Return the picked rows as tensors padded to the longest of them, with an `attention_mask`."""
    # [rows] -> [rows, choices] -> [texts]: row i has the texts i · choices … i · choices + choices - 1.
    texts = (np.asarray(picked)[:, None] * rows.num_choices + np.arange(rows.num_choices)).ravel()
    starts = rows.offsets[texts]
    lengths = rows.offsets[texts + 1] - starts
    width = int(lengths.max())
    mask = np.arange(width) < lengths[:, None]
    shape = (len(picked), rows.num_choices, width) if rows.takes_choices else (len(texts), width)
    batch = {"attention_mask": torch.from_numpy(mask.astype(np.int64)).reshape(shape)}
    # [texts, width]: places in the ragged columns; padding reads place 0, and is overwritten.
    positions = np.where(mask, starts[:, None] + np.arange(width), 0)
    for name, values in rows.columns.items():
        tokens = np.where(mask, values[positions], np.asarray(rows.pad_values[name], dtype=np.int64))
        batch[name] = torch.from_numpy(tokens).reshape(shape)
    if rows.units is not None:
        units, counts = units_of(rows, picked), rows.unit_bounds[picked + 1] - rows.unit_bounds[picked]
        # A unit's token among all tokens becomes its place among batch × width: shift by where its row begins in both.
        starts_of_units = np.repeat(starts - np.arange(len(picked)) * width, counts)
        batch[UNITS] = torch.from_numpy(rows.units[units] - starts_of_units)
    return batch


def evaluation_batches(
    rows: EncodedRows, batch_size: int, picked: np.ndarray | None = None
) -> list[tuple[np.ndarray, Batch]]:
    """Yield all rows (or those picked) once, shortest first, as (places of their units, inputs), batched by length.

    No batch has more than `batch_size` rows; it has fewer where padding them would cost more than another call.
    """
    return list(iterate_batches(rows, evaluation_picks(rows, batch_size, picked)))


def evaluation_picks(rows: EncodedRows, batch_size: int, picked: np.ndarray | None = None) -> list[np.ndarray]:
    """Return the rows of the same batches."""
    # Stable, or equal lengths would batch differently from machine to machine, and sums round differently.
    order = np.argsort(rows.lengths, kind="stable")
    if picked is not None:
        order = order[np.isin(order, picked)]
    return np.split(order, _cut_batches(rows.lengths[order] * rows.num_choices, batch_size)) if len(order) else []


def iterate_batches(rows: EncodedRows, picks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yield some rows after the other as (places of their units, inputs)."""
    for picked in picks:
        yield units_of(rows, picked), collate(rows, picked)


def _cut_batches(lengths: np.ndarray, batch_size: int) -> list[int]:
    """Return where ascending lengths are cut into batches that cost least, padding and calls together."""
    # Dynamic programming over ends: least[e] is the least cost of the first e rows, start_of[e] where their last batch
    # begins. Rows × batch size steps; the longest of a batch is its last row, because lengths ascend.
    least, start_of = np.zeros(len(lengths) + 1), np.zeros(len(lengths) + 1, dtype=np.int64)
    for end in range(1, len(lengths) + 1):
        starts = np.arange(max(0, end - batch_size), end)
        costs = least[starts] + lengths[end - 1] * (end - starts) + CALL_TOKENS
        start_of[end], least[end] = starts[costs.argmin()], costs.min()
    # Back from the last batch to the first.
    cuts, end = [], int(start_of[-1])
    while end > 0:
        cuts.append(end)
        end = int(start_of[end])
    return cuts[::-1]


def training_picks(rows: EncodedRows, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield one epoch as batches of places: every row once, like lengths together, in an order drawn from `rng`."""
    order, lengths = rng.permutation(len(rows)), rows.lengths
    picks: list[np.ndarray] = []
    for start in range(0, len(order), batch_size * _POOL):
        pool = order[start : start + batch_size * _POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        picks += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    # Batches are shuffled too, or every epoch would go from short texts to long ones.
    for position in rng.permutation(len(picks)):
        yield picks[position]


def training_batches(
    rows: EncodedRows, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Return the same as (places of units, inputs)."""
    return iterate_batches(rows, training_picks(rows, batch_size, rng))


def split_batch(batch: Batch, count: int) -> list[Batch]:
    """Split a batch into `count` of about equally many texts (or choices), or as many as it has, in its order."""
    size, width = len(batch["attention_mask"]), batch["attention_mask"].shape[-1]
    # A part without a row would be a call with an empty batch.
    bounds = np.linspace(0, size, min(count, size) + 1).astype(int).tolist()
    parts = []
    for start, end in pairwise(bounds):
        part = {name: values[start:end] for name, values in inputs_of(batch).items()}
        if UNITS in batch:
            units = batch[UNITS]
            part[UNITS] = units[(units >= start * width) & (units < end * width)] - start * width
        parts.append(part)
    return parts


def compute_logits(
    model: "PreTrainedModel", batches: Iterable[tuple[np.ndarray, Batch]], pieces: Pieces | None = None
) -> np.ndarray:
    """Return the logits [units, outputs] of all batches, in the order of the places that the batches carry."""
    order, parts = zip(*compute_each(model, batches, pieces), strict=True)
    # Batches come sorted by length; the argsort of the places is the inverse permutation.
    return np.asarray(np.concatenate(parts)[np.argsort(np.concatenate(order))])


@torch.inference_mode()
def compute_each(
    model: "PreTrainedModel", batches: Iterable[tuple[np.ndarray, Batch]], pieces: Pieces | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield places and logits [units, outputs] of a batch after the other, each in pieces if memory asks for it."""
    was_training, pieces = model.training, pieces or Pieces()
    model.eval()
    try:
        for places, batch in batches:
            yield places, pieces.run(partial(_answer, model, batch), len(batch["attention_mask"]))
    finally:
        model.train(was_training)


def _answer(model: "PreTrainedModel", batch: Batch, num_pieces: int) -> np.ndarray:
    """Return the logits [units, outputs] of a batch that is computed in pieces."""
    parts = [batch] if num_pieces == 1 else split_batch(batch, num_pieces)
    return np.concatenate([outputs_of(model, to_device(part, model.device)).cpu().numpy() for part in parts])


@contextmanager
def _same_afterwards(tokenizer: "PreTrainedTokenizerBase") -> Iterator[None]:
    """Restore the tokenizer afterwards: it is saved alike, whether its rows' tokens were in the cache or not."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    before = backend.truncation if backend is not None else None
    try:
        yield
    finally:
        if backend is not None:
            backend.no_truncation() if before is None else backend.enable_truncation(**before)


def _fingerprint(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return a content hash of the tokenizer, whatever directory it was loaded from."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        text = repr(sorted(tokenizer.get_vocab().items()))
    else:  # truncation and padding are states of the last call, not of the tokenizer
        state = json.loads(backend.to_str())
        text = json.dumps({name: value for name, value in state.items() if name not in ("truncation", "padding")})
    settings = [type(tokenizer).__name__, tokenizer.model_input_names, tokenizer.truncation_side]
    return hashlib.sha256(f"{settings} {text}".encode()).hexdigest()
