"""Trimming a vocabulary: the user's texts give the same pieces and logits, all others stay representable."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from compressor.data.batches import EncodedRows
from compressor.data.loading import load_task_data
from compressor.data.sources import DataSource
from compressor.errors import ModelError, TaskDataError
from compressor.extraction.extract import extract_sub_network
from compressor.extraction.trimming import trim_model_directory
from compressor.extraction.vocabulary import TrimmedVocabulary, align_words, count_tokens, trim_vocabulary
from compressor.network.loading import load_base_model
from compressor.network.saving import load_sliced_model, save_sliced_model
from compressor.network.slicing import slice_model
from compressor.training.super_network import SuperNetwork
from conftest import DIMENSIONS, tiny_config, tiny_model, word_tokenizer
from exported import ODD

TEXTS = [
    line
    for line in (Path(__file__).parents[3] / "ARCHITECTURE.md").read_text().splitlines()
    if len(line) > 40 and not line.startswith("|")
]
USED, UNSEEN = TEXTS[::3], [*TEXTS[1::3], "Übergrößenträger 你好 🙂 zzzq", ""]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def train_word_piece(folder: Path) -> None:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=700, special_tokens=special))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    write(folder, backend, "BertTokenizer", dict(zip(("pad", "unk", "cls", "sep", "mask"), special, strict=True)))


def train_bytes(folder: Path) -> None:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIAL, initial_alphabet=alphabet)
    backend.train_from_iterator(TEXTS, trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    write(folder, backend, "RobertaTokenizer", ROBERTA)


def train_unigram(folder: Path) -> None:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(vocab_size=600, special_tokens=SPECIAL, unk_token="<unk>")
    backend.train_from_iterator(TEXTS, trainer)
    write(folder, backend, "XLMRobertaTokenizer", ROBERTA)


ROBERTA = {"cls": "<s>", "bos": "<s>", "pad": "<pad>", "sep": "</s>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
KINDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "WordPiece": ("bert", train_word_piece),
    "byte-level BPE": ("roberta", train_bytes),
    "Unigram": ("xlm-roberta", train_unigram),
}


def write(folder: Path, backend: Any, name: str, special: dict[str, str]) -> None:
    backend.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": name, **{f"{kind}_token": token for kind, token in special.items()}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def case(kind: str, folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A tiny random model that has as many embeddings as the tokenizer has tokens."""
    model_type, train = KINDS[kind]
    folder.mkdir()
    train(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = tiny_config(model_type)
    config.vocab_size, config.max_position_embeddings, config.pad_token_id = len(tokenizer), 300, tokenizer.pad_token_id
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return AutoModelForSequenceClassification.from_config(config).eval(), tokenizer


def ids_of(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[np.ndarray]:
    return [np.asarray(ids) for ids in tokenizer(texts)["input_ids"]]


def trim(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **options: int) -> TrimmedVocabulary:
    return trim_vocabulary(model, tokenizer, count_tokens(ids_of(tokenizer, USED), len(tokenizer)), **options)


def logits_of(model: PreTrainedModel, ids: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.from_numpy(ids)[None]).logits


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_user_s_texts_stay_as_they_are(kind: str, tmp_path: Path) -> None:
    model, tokenizer = case(kind, tmp_path / "tokenizer")
    before = ids_of(tokenizer, USED)
    logits = [logits_of(model, ids) for ids in before]
    number = len(tokenizer)
    trimmed = trim(model, tokenizer)
    assert len(trimmed.tokenizer) == len(trimmed.kept) == model.config.vocab_size < number
    after = ids_of(trimmed.tokenizer, USED)
    for old, new, expected in zip(before, after, logits, strict=True):
        assert np.array_equal(trimmed.map_ids(old), new)
        assert torch.equal(logits_of(model, new), expected)
    pairs = [tokenizer(USED[0], USED[1])["input_ids"], trimmed.tokenizer(USED[0], USED[1])["input_ids"]]
    assert np.array_equal(trimmed.map_ids(np.asarray(pairs[0])), pairs[1])


@pytest.mark.parametrize("kind", list(KINDS))
def test_other_texts_stay_representable(kind: str, tmp_path: Path) -> None:
    model, tokenizer = case(kind, tmp_path / "tokenizer")
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in ids_of(tokenizer, UNSEEN)]
    unknown = [int(np.sum(ids == tokenizer.unk_token_id)) for ids in ids_of(tokenizer, UNSEEN)]
    trimmed = trim(model, tokenizer)
    found = ids_of(trimmed.tokenizer, UNSEEN)
    assert [trimmed.tokenizer.decode(ids, skip_special_tokens=True) for ids in found] == texts
    assert [int(np.sum(ids == trimmed.tokenizer.unk_token_id)) for ids in found] == unknown
    assert any(len(old) < len(new) for old, new in zip(ids_of(tokenizer, UNSEEN), found, strict=True))


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_trimmed_model_is_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    model, tokenizer = case(kind, tmp_path / "tokenizer")
    sliced = slice_model(model, ODD)
    trimmed = trim(sliced, tokenizer)
    ids = ids_of(trimmed.tokenizer, USED[:1])[0]
    (tmp_path / "model").mkdir()
    save_sliced_model(tmp_path / "model", sliced, trimmed.tokenizer, ODD, DIMENSIONS, {})
    loaded = load_sliced_model(tmp_path / "model")
    assert ids_of(loaded.tokenizer, UNSEEN)[0].tolist() == ids_of(trimmed.tokenizer, UNSEEN)[0].tolist()
    assert torch.allclose(logits_of(loaded.model, ids), logits_of(sliced, ids), atol=1e-6)
    assert loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id
    assert model.config.vocab_size == len(tokenizer)  # the whole model is as it was
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)


def test_rare_tokens_go_and_frequent_ones_stay(tmp_path: Path) -> None:
    model, tokenizer = case("WordPiece", tmp_path / "tokenizer")
    all_used = set(trim(slice_model(model, ODD), tokenizer).kept)
    often = set(trim(slice_model(model, ODD), tokenizer, min_count=3).kept)
    more = set(trim(slice_model(model, ODD), tokenizer, min_count=3, num_more=10).kept)
    assert often < all_used
    assert len(more - often) == 10
    counts = count_tokens(ids_of(tokenizer, USED), len(tokenizer))
    assert min(counts[list(more - often)]) >= max(counts[[*all_used - more]])


def test_tokens_of_words_are_trimmed_too() -> None:
    """A word tokenizer has no pieces: words that never occur become unknown."""
    tokenizer, model = word_tokenizer(), tiny_model()
    counts = count_tokens([np.asarray(tokenizer("w1 w2")["input_ids"])], 60)
    trimmed = trim_vocabulary(slice_model(model, ODD), tokenizer, counts)
    assert trimmed.tokenizer.tokenize("w1 w2 w3") == ["w1", "w2", "[UNK]"]


@pytest.mark.parametrize("task", ["ner", "embed"])
def test_models_of_words_and_of_vectors_are_trimmed(task: str, tmp_path: Path) -> None:
    """A long test row of words that nobody trained on is cut into more pieces, and its last words are read no more."""
    model, tokenizer = case("WordPiece", tmp_path / "tokenizer")
    words = sorted({word for text in TEXTS for word in text.split() if word.isalpha()}, key=len)
    common, rare = words[: len(words) // 2], words[len(words) // 2 :]
    lists = [common[n : n + 6] for n in range(len(common) - 6)] * 2
    rows = [{"tokens": row, "ner_tags": ["O", "B-X"] * 3, "text": " ".join(row)} for row in lists]
    tests = [{**row, "tokens": rare[n : n + 6], "text": rare[n]} for n, row in enumerate(rows[:12])]
    for name, part in (("train", rows), ("test", tests)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    files = {f"{name}_file": str(tmp_path / f"{name}.jsonl") for name in ("train", "test")}
    model.base_model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    reference = {"reference_model": str(tmp_path / "base")} if task == "embed" else {}
    data = load_task_data(DataSource(task_name=task, max_seq_length=9, **files, **reference))
    base, tokenizer = load_base_model(str(tmp_path / "base"), data.task, data.label_names, seed=0)
    net = SuperNetwork(model=base, tokenizer=tokenizer)
    small = extract_sub_network(net, ODD, data, finetune_epochs=0, trim_vocabulary=True)
    vocabulary = small.report.vocabulary
    assert vocabulary is not None
    assert vocabulary.tokens_after < vocabulary.tokens_before
    assert vocabulary.changed_texts > 0
    assert 0 <= vocabulary.test_error_after <= 1


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_model_directory_is_trimmed(kind: str, tmp_path: Path) -> None:
    model, tokenizer = case(kind, tmp_path / "tokenizer")
    model.save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    (tmp_path / "whole" / "modules.json").write_text("[]")
    for name in ("model.onnx", "openvino_model.xml"):
        (tmp_path / "whole" / name).write_bytes(b"of the whole")
    made = trim_model_directory(tmp_path / "whole", USED, tmp_path / "small")
    assert made.tokens_after < made.tokens_before == len(tokenizer)
    assert 0 < made.changed_texts <= 1
    assert made.mb_before - made.mb_after == pytest.approx(
        4e-6 * (made.tokens_before - made.tokens_after) * model.config.hidden_size
    )
    small = AutoModelForSequenceClassification.from_pretrained(tmp_path / "small").eval()
    cut = AutoTokenizer.from_pretrained(tmp_path / "small")
    assert len(cut) == made.tokens_after == small.config.vocab_size
    for old, new in zip(ids_of(tokenizer, USED), ids_of(cut, USED), strict=True):
        torch.testing.assert_close(logits_of(small, new), logits_of(model, old), rtol=0, atol=1e-6)
    files = {path.name for path in (tmp_path / "small").iterdir()}
    assert {"modules.json", "vocabulary.json"} < files
    assert not {"model.onnx", "openvino_model.xml"} & files  # which would be the untrimmed model
    assert json.loads((tmp_path / "small" / "vocabulary.json").read_text())["tokens_after"] == made.tokens_after


def test_modules_behind_the_encoder_stay_as_they_are(tmp_path: Path) -> None:
    """As of LaBSE and distiluse, whose embedding goes through a Dense layer with weights of its own."""
    whole, small = tmp_path / "whole", tmp_path / "small"
    model, tokenizer = case("WordPiece", tmp_path / "tokenizer")
    model.save_pretrained(whole)
    tokenizer.save_pretrained(whole)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    modules = [{"idx": i, "name": str(i), "path": path, "type": f"x.{kind}"} for i, (path, kind) in enumerate(kinds)]
    (whole / "modules.json").write_text(json.dumps(modules))
    for name in ("2_Dense/model.safetensors", "2_Dense/pytorch_model.bin", "1_Pooling/config.json"):
        (whole / name).parent.mkdir(exist_ok=True)
        (whole / name).write_bytes(b"of the module")
    for name in ("onnx/model.onnx_data", "onnx/tokenizer.json", "old/pytorch_model.bin"):
        (whole / name).parent.mkdir(exist_ok=True)
        (whole / name).write_bytes(b"of the whole")
    trim_model_directory(whole, USED, small)
    below = {str(path.relative_to(small)) for path in small.rglob("*/*") if path.is_file()}
    assert below == {"1_Pooling/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"}


def test_what_is_not_trimmed(tmp_path: Path) -> None:
    model, tokenizer = case("WordPiece", tmp_path / "tokenizer")
    tokenizer.save_pretrained(tmp_path / "masked")
    BertForMaskedLM(model.config).save_pretrained(tmp_path / "masked")
    with pytest.raises(ModelError, match="must not predict tokens, but .* is a BertForMaskedLM"):
        trim_model_directory(tmp_path / "masked", USED, tmp_path / "small")
    with pytest.raises(TaskDataError, match="must be trimmed to at least 5 texts, but there are 1"):
        trim_model_directory(tmp_path / "masked", ["w1", " "], tmp_path / "small")
    (tmp_path / "sliced").mkdir()
    save_sliced_model(tmp_path / "sliced", slice_model(model, ODD), tokenizer, ODD, DIMENSIONS, {})
    with pytest.raises(ModelError, match="must be trimmed as it is extracted"):
        trim_model_directory(tmp_path / "sliced", USED, tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_words_that_are_read_no_more_are_answered_outside() -> None:
    def rows(words: list[list[int]]) -> EncodedRows:
        lengths = [len(row) for row in words]
        offsets, units = np.concatenate([[0], np.cumsum(lengths)]), np.flatnonzero(np.concatenate(words))
        return EncodedRows(
            columns={}, offsets=offsets, labels=np.zeros(len(units)), num_choices=1, takes_choices=False,
            pad_values={}, units=units,
        )  # fmt: skip

    old, new = rows([[0, 1, 1, 1, 0], [0, 1, 1, 0]]), rows([[0, 1, 0, 1, 0], [0, 1, 1, 0]])
    outputs = np.arange(8, dtype=np.float32).reshape(4, 2) + 10
    expected = [[10, 11], [12, 13], [0, 1], [14, 15], [16, 17]]
    assert align_words(outputs, new, old, unread=1).tolist() == expected


def test_a_padding_token_that_counts_stays_where_it_is(tmp_path: Path) -> None:
    model, tokenizer = case("byte-level BPE", tmp_path / "tokenizer")
    model.config.pad_token_id = len(tokenizer) - 1
    counts = count_tokens(ids_of(tokenizer, [*USED, TEXTS[1]]), len(tokenizer))
    counts[-1] = 1
    with pytest.raises(ModelError, match="must keep that token's id"):
        trim_vocabulary(model, tokenizer, counts)


def test_a_token_that_is_called_padding_may_go(tmp_path: Path) -> None:
    """A configuration may say 0 where the tokenizer, trained for other texts, pads with another one."""
    tokenizer, model = word_tokenizer(), tiny_model()
    model.config.pad_token_id = model.get_input_embeddings().padding_idx = 9  # an ordinary word
    counts = count_tokens([np.asarray(tokenizer("w1 w2")["input_ids"])], 60)
    sliced = slice_model(model, ODD)
    trimmed = trim_vocabulary(sliced, tokenizer, counts)
    assert 9 not in trimmed.kept
    assert (sliced.config.pad_token_id, sliced.get_input_embeddings().padding_idx) == (None, None)
    save_sliced_model(tmp_path, sliced, trimmed.tokenizer, ODD, DIMENSIONS, {})
    loaded = load_sliced_model(tmp_path)
    old, new = (one("w1 w2", return_tensors="pt") for one in (tokenizer, loaded.tokenizer))
    with torch.inference_mode():
        torch.testing.assert_close(slice_model(model, ODD)(**old).logits, loaded.model(**new).logits)
