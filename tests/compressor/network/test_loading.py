"""Loading and saving super-networks, and the mistakes of a hurried person."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    DebertaV2ForMaskedLM,
    GPT2Config,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from compressor.data.tasks import TASKS, get_task
from compressor.errors import ModelError
from compressor.network.families import ENCODER_FAMILIES, get_dimensions, max_positions
from compressor.network.loading import load_base_model, load_fine_tuned_model, resolve_model
from compressor.training.super_network import SuperNetwork, load_super_network
from conftest import DIMENSIONS, HIDDEN, tiny_config, tiny_model, write_slow_tokenizer


def test_the_new_head_comes_from_the_seed(base_model_dir: Path) -> None:
    def head(state: int, seed: int) -> torch.Tensor:
        torch.manual_seed(state)
        model, _ = load_base_model(str(base_model_dir), TASKS["custom"], ("no", "yes"), seed=seed)
        return model.classifier.weight

    assert torch.equal(head(1, 0), head(2, 0))
    assert not torch.equal(head(1, 0), head(1, 1))


@pytest.mark.parametrize("model_type", ENCODER_FAMILIES)
def test_a_new_head_begins_with_the_biases_that_are_given(
    model_type: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    tokenizer.save_pretrained(tmp_path)
    start = np.array([0.5, -2.0, 1.25])

    def last_of(model: PreTrainedModel) -> torch.nn.Linear:
        return next(m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 3)

    def answer(of: PreTrainedModel) -> list[float]:
        of.save_pretrained(tmp_path)
        model, _ = load_base_model(str(tmp_path), TASKS["custom"], ("a", "b", "c"), seed=0, start=start)
        last_of(model).weight.data.zero_()
        answers: list[float] = model.eval()(input_ids=torch.tensor([[5, 6, 7]])).logits[0].tolist()
        return answers

    assert answer(tiny_model(model_type).base_model) == start.tolist()
    # One for another number of labels is drawn anew; that of a fine-tuned model stays.
    assert answer(tiny_model(model_type, num_labels=2)) == start.tolist()
    fine_tuned = tiny_model(model_type, num_labels=3)
    assert answer(fine_tuned) == last_of(fine_tuned).bias.tolist()


def test_labels_travel_into_the_configuration(base_model_dir: Path) -> None:
    model, _ = load_base_model(str(base_model_dir), TASKS["custom"], ("no", "yes"), seed=0)
    assert model.config.id2label == {0: "no", 1: "yes"}
    regression, _ = load_base_model(str(base_model_dir), get_task("custom", regression=True), (), seed=0)
    assert regression.config.num_labels == 1
    assert regression.config.problem_type == "regression"


@pytest.mark.parametrize("name", ["RobertaTokenizer", "PreTrainedTokenizerFast"])
def test_words_of_a_list_are_read_as_words_within_texts(name: str, tmp_path: Path) -> None:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(["so Ann Lee sang, so Ann Lee flew"] * 9, trainer)
    tiny_model("roberta", num_labels=3).save_pretrained(tmp_path)
    backend.save(str(tmp_path / "tokenizer.json"))
    told = {
        "tokenizer_class": name,
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    config = json.loads((tmp_path / "config.json").read_text()) | {"vocab_size": 300}
    RobertaModel(RobertaConfig(**config)).save_pretrained(tmp_path)
    _, tokenizer = load_base_model(str(tmp_path), TASKS["ner"], ("O", "B-PER"), seed=0)
    tokenizer.save_pretrained(tmp_path / "saved")
    words = ["Ann", "Lee", "flew"]
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path / "saved")):
        ids = each(words, is_split_into_words=True, add_special_tokens=False)["input_ids"]
        assert ids == each("so Ann Lee flew", add_special_tokens=False)["input_ids"][1:]
        assert "ĠLee" in each.convert_ids_to_tokens(ids)


def test_demo_encoder_has_the_published_sizes() -> None:
    model, _ = load_base_model("demo", TASKS["demo"], ("negative", "positive"), seed=0)
    dimensions = get_dimensions(model)
    assert (dimensions.num_layers, dimensions.num_heads, dimensions.num_units) == (6, 12, 1536)


def test_a_directory_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="must hold safetensors weights, but .* has none"):
        resolve_model(str(tmp_path))
    with pytest.raises(ModelError, match="must exist, but it does not"):
        resolve_model("./nowhere")


def test_another_family(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    GPT2Config(n_layer=1, n_head=1, n_embd=4, vocab_size=60).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError) as raised:
        load_base_model(str(tmp_path), TASKS["custom"], ("a", "b"), seed=0)
    families = ", ".join(sorted(ENCODER_FAMILIES))
    assert str(raised.value) == (
        f"the encoder family must be one of {families}, but got 'gpt2'. Choose a model of a supported family."
    )


def test_deberta_v3_as_the_hub_has_it(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """No table of positions or token types, kinds of attention in one text, no architecture, a head for words."""
    config = tiny_config("deberta-v2")
    DebertaV2ForMaskedLM(config).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    for name in ("architectures", "legacy", "transformers_version", "dtype"):
        written.pop(name, None)
    (tmp_path / "config.json").write_text(json.dumps(written | {"pos_att_type": "p2c|c2p"}))
    tokenizer.save_pretrained(tmp_path)
    model, _ = load_base_model(str(tmp_path), TASKS["custom"], ("no", "yes"), seed=0)
    assert get_dimensions(model) == DIMENSIONS
    assert max_positions(model) == 40
    assert (model.config.pos_att_type, model.config._attn_implementation) == (["p2c", "c2p"], "eager")


def test_weights_that_do_not_cover_the_encoder(base_model_dir: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(base_model_dir, tmp_path / "half")
    weights = load_file(base_model_dir / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layer.1" not in name}
    save_file(kept, tmp_path / "half" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="must cover the encoder, but 16 tensors are missing"):
        load_base_model(str(tmp_path / "half"), TASKS["custom"], ("a", "b"), seed=0)


def test_a_head_for_other_labels_is_drawn_anew(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """As a model that was fine-tuned for three labels is, where a task has two; its encoder is kept."""
    whole = tiny_model(num_labels=3)
    whole.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    heads = []
    for seed in (0, 0, 1):
        model, _ = load_base_model(str(tmp_path), TASKS["custom"], ("no", "yes"), seed=seed)
        for name, tensor in model.base_model.state_dict().items():
            assert torch.equal(tensor, whole.base_model.state_dict()[name])
        heads.append(model.classifier.weight)
    assert heads[0].shape == (2, HIDDEN)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert not load_fine_tuned_model(str(tmp_path))[0].training


def test_weights_of_another_shape_than_the_configuration_says(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    tiny_model(num_labels=3).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 20}))
    with pytest.raises(ModelError, match=r"must load, but it does not: bert\.encoder\.layer.* by its configuration of"):
        load_base_model(str(tmp_path), TASKS["custom"], ("no", "yes"), seed=0)
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {"0": "no", "1": "yes"}}))
    with pytest.raises(ModelError, match=r"must load, but it does not: classifier\..* is of shape \[3"):
        load_fine_tuned_model(str(tmp_path))


def test_words_with_labels_need_a_fast_tokenizer(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    write_slow_tokenizer(tmp_path)
    load_base_model(str(tmp_path), TASKS["custom"], ("no", "yes"), seed=0)
    with pytest.raises(ModelError) as raised:
        load_base_model(str(tmp_path), TASKS["ner"], ("O", "B-PER"), seed=0)
    assert str(raised.value) == (
        "a tokenizer must have a tokenizer.json to read words with labels, but PhobertTokenizer has none. "
        "Save it as a fast tokenizer, or choose another model."
    )


def test_a_decoder_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_model()
    model.config.is_decoder = True
    with pytest.raises(ModelError, match="must be an encoder"):
        get_dimensions(model)
    assert json.loads(model.config.to_json_string())["is_decoder"]


@pytest.mark.parametrize("model_type", ["evil", "bert"])
@pytest.mark.parametrize("place", ["config.json", "tokenizer_config.json"])
def test_code_beside_a_model_neither_runs_nor_is_asked_for(
    model_type: str, place: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    SuperNetwork(model=tiny_model(num_labels=2), tokenizer=tokenizer).save(tmp_path / "net")
    (tmp_path / "net" / "evil.py").write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w').close()\n")
    for name, values in (
        ("config.json", {"model_type": model_type}),
        (place, {"auto_map": {"AutoConfig": "evil.A", "AutoModelForSequenceClassification": "evil.B"}}),
        (place, {"auto_map": {"AutoTokenizer": ["evil.C", "evil.C"]}} if place == "tokenizer_config.json" else {}),
    ):
        file = tmp_path / "net" / name
        file.write_text(json.dumps(json.loads(file.read_text()) | values))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 1000))
    asked: list[object] = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "y")
    for load in (
        lambda: load_super_network(tmp_path / "net"),
        lambda: load_base_model(str(tmp_path / "net"), TASKS["custom"], ("a", "b"), seed=0),
    ):
        with contextlib.suppress(ModelError):
            load()
        if model_type == "evil":
            with pytest.raises(ModelError, match="the encoder family must be one of"):
                load()
    assert not asked
    assert not (tmp_path / "it-ran").exists()
