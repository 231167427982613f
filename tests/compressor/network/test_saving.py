"""Law 2 without ONNX: sliced = saved = loaded, here and where transformers alone is installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast, pipeline

from compressor.data.heads import form_of
from compressor.data.tasks import TASKS
from compressor.errors import ModelError, ParityError
from compressor.network.families import get_family
from compressor.network.modeling_sliced import ENCODER_FAMILIES
from compressor.network.saving import is_stock, load_sliced_model, require_error, require_parity, save_sliced_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork
from compressor.spaces import SEARCH_SPACES, create_search_space
from conftest import (
    DIMENSIONS,
    HEADS,
    LAYERS,
    SWITCHES,
    TASK_HEADS,
    UNITS,
    answers,
    tiny_batch,
    tiny_config,
    tiny_model,
)

ODD = SubNetwork(heads=((0, 3), (), ()), units=((), (1, 2, 20), ()))


def sub_networks_of_spaces(seed: int) -> list[SubNetwork]:
    """A random one and the smallest of every search space, each once: spaces share their smallest ones."""
    spaces = [create_search_space(name, DIMENSIONS) for name in SEARCH_SPACES]
    drawn = [space.draw(np.random.default_rng(seed)) for space in spaces]
    return list(dict.fromkeys([*drawn, *(space.smallest for space in spaces)]))


@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
@pytest.mark.parametrize("task_head", TASK_HEADS)
def test_saved_is_loaded(model_type: str, task_head: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    check_saved(tmp_path, tiny_model(model_type, task_head), tokenizer, [ODD, *sub_networks_of_spaces(seed=1)])


def check_saved(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, sub_networks: list[SubNetwork]
) -> None:
    for sub_network in sub_networks:
        path = tmp_path / sub_network.hash
        path.mkdir()
        sliced = slice_model(model, sub_network)
        save_sliced_model(path, sliced, tokenizer, sub_network, DIMENSIONS, {"note": 1})
        loaded = load_sliced_model(path)
        assert loaded.sub_network == sub_network
        assert loaded.dimensions == DIMENSIONS
        assert json.loads((path / "sub_network.json").read_text())["note"] == 1
        batch = tiny_batch(model)
        torch.testing.assert_close(answers(loaded.model, batch), answers(sliced, batch), rtol=1e-5, atol=1e-6)
        suffixes = sorted(file.suffix for file in path.iterdir() if file.is_file() and file.suffix != ".py")
        more = 3 if form_of(model).pools_tokens else 0  # what sentence-transformers reads besides 1_Pooling
        assert suffixes == [".json"] * (4 + more) + [".safetensors"]


STOCK = SubNetwork(heads=((0, 1, 2, 3), (), (0, 1, 2, 3)), units=((0, 5, 7), (), (1, 2, 3)))


NOTHING = SubNetwork(heads=((),) * 3, units=((),) * 3)


@pytest.mark.parametrize("name", [name for name in SWITCHES if name.split(":")[0] in ENCODER_FAMILIES])
def test_saved_is_loaded_with_every_switch(name: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    check_saved(tmp_path, tiny_model(name), tokenizer, [ODD, STOCK, NOTHING])


NEED_A_LAYER = [name for name, family in ENCODER_FAMILIES.items() if family.needs_a_layer]
"""Their smallest sub-network keeps a layer that does nothing, which no stock class has."""


@pytest.mark.parametrize(
    ("model_type", "sub_network"),
    [
        *((name, STOCK) for name in ENCODER_FAMILIES),
        *((name, NOTHING) for name in ENCODER_FAMILIES if name not in NEED_A_LAYER),
    ],
)
def test_what_stock_classes_can_express_is_saved_as_one(
    model_type: str, sub_network: SubNetwork, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = tiny_model(model_type)
    sliced = slice_model(model, sub_network)
    save_sliced_model(tmp_path, sliced, tokenizer, sub_network, DIMENSIONS, {})
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == model_type
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    batch = tiny_batch(model)
    torch.testing.assert_close(loaded(**batch).logits, sliced(**batch).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif("modernbert" not in ENCODER_FAMILIES, reason="transformers is too old for ModernBERT")
def test_layers_of_another_pattern_are_not_left_to_stock_classes(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Readers that count local and global layers themselves would compute something else; a prefix they count right."""
    config = tiny_config("modernbert")
    config.layer_types = ["full_attention", "sliding_attention", "full_attention"]
    config.global_attn_every_n_layers = 2  # as the Hub's checkpoints say it
    model = AutoModelForSequenceClassification.from_config(config).eval()
    every = (tuple(range(HEADS)), tuple(range(UNITS)))
    batch = tiny_batch(model)
    for layers, stock in (((0, 1, 2), True), ((0, 1), True), ((0, 2), False), ((1, 2), False)):
        sub_network = SubNetwork(*(tuple(kept if i in layers else () for i in range(LAYERS)) for kept in every))
        path = tmp_path / "".join(map(str, layers))
        path.mkdir()
        sliced = slice_model(model, sub_network)
        save_sliced_model(path, sliced, tokenizer, sub_network, DIMENSIONS, {})
        written = json.loads((path / "config.json").read_text())
        assert (written["model_type"] == "modernbert") == stock
        assert written["layer_types"] == [config.layer_types[layer] for layer in sorted({0, *layers})]
        torch.testing.assert_close(
            load_sliced_model(path).model(**batch).logits, sliced(**batch).logits, rtol=1e-5, atol=1e-6
        )


NO_ATTENTION = SubNetwork(heads=((),) * 3, units=(tuple(range(24)), (), tuple(range(24))))
NO_FEED_FORWARD = SubNetwork(heads=((0, 1, 2, 3),) * 3, units=((),) * 3)


@pytest.mark.parametrize(
    ("model_type", "sub_network"),
    [
        *((name, kept) for name in ENCODER_FAMILIES for kept in (ODD, NO_ATTENTION, NO_FEED_FORWARD)),
        *((name, NOTHING) for name in NEED_A_LAYER),
    ],
)
def test_stock_classes_refuse_all_others(
    model_type: str, sub_network: SubNetwork, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Never half a model with the rest drawn at random."""
    model = tiny_model(model_type)
    save_sliced_model(tmp_path, slice_model(model, sub_network), tokenizer, sub_network, DIMENSIONS, {})
    with pytest.raises(Exception, match="differs per layer: see kept_units, and load with trust_remote_code=True"):
        type(model).from_pretrained(tmp_path)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
@pytest.mark.parametrize("model_type", list(ENCODER_FAMILIES))
def test_saving_again_is_identical(model_type: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """The flags survive too: label names, dtype, gradient checkpointing, both kinds of attention."""
    model = tiny_model(model_type)
    model.config.id2label, model.config.label2id = {0: "a", 1: "b", 2: "c"}, {"a": 0, "b": 1, "c": 2}
    save_sliced_model(tmp_path / "one", slice_model(model, ODD).half(), tokenizer, ODD, DIMENSIONS, {})
    for attention in ("sdpa", "eager") if get_family(model_type).has_sdpa else ("eager",):
        loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "one", attn_implementation=attention)
        assert loaded.config.id2label == {0: "a", 1: "b", 2: "c"}
        assert loaded.dtype == torch.float16
        assert loaded.config._attn_implementation == attention
        assert loaded.supports_gradient_checkpointing == model.supports_gradient_checkpointing
        loaded.save_pretrained(tmp_path / "two")
        for name in ("config.json", "model.safetensors", "modeling_sliced.py"):
            assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    if loaded.supports_gradient_checkpointing:  # MPNet does not
        loaded.gradient_checkpointing_enable()
    loaded.float().train()(**tiny_batch(model)).logits.sum().backward()


def test_the_stock_trainer_fine_tunes_it(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    from transformers import Trainer, TrainingArguments

    save_sliced_model(tmp_path / "model", slice_model(tiny_model(), ODD), tokenizer, ODD, DIMENSIONS, {})
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    before = model.classifier.weight.clone()
    rows = [{"input_ids": [2, 6, 3], "attention_mask": [1, 1, 1], "labels": row % 3} for row in range(8)]
    arguments = TrainingArguments(tmp_path / "out", max_steps=2, report_to=[], disable_tqdm=True, use_cpu=True)
    trainer = Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    assert not torch.equal(model.classifier.weight, before)
    trainer.save_model(str(tmp_path / "tuned"))
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "tuned")
    batch = tiny_batch(tiny_model())
    torch.testing.assert_close(again(**batch).logits, model.eval()(**batch).logits)


LOADER = """
import json, sys
import torch
import transformers
from transformers import AutoModel, AutoModelForMultipleChoice, AutoModelForSequenceClassification
from transformers import AutoModelForTokenClassification
assert not any(name.startswith(("compressor", "mlproject", "exporters")) for name in sys.modules)
for path, inputs in json.loads(sys.stdin.read()):
    autos = {"multiple_choice": AutoModelForMultipleChoice, "embedding": AutoModel}
    autos["token_classification"] = AutoModelForTokenClassification
    auto = next((autos[head] for head in autos if head in path), AutoModelForSequenceClassification)
    model = auto.from_pretrained(path, trust_remote_code="stock" not in path).eval()
    with torch.inference_mode():
        tensors = {name: torch.tensor(values) for name, values in inputs.items()}
        output = model(**tensors)
    if auto is AutoModel:  # as sentence-transformers pools them
        mask = tensors["attention_mask"].unsqueeze(-1)
        mean = (output.last_hidden_state * mask).sum(1) / mask.sum(1)
        output = {"logits": torch.nn.functional.normalize(mean, dim=-1)}
    print("LOGITS", json.dumps(output["logits"].tolist()))
"""


@pytest.mark.slow
def test_a_fresh_process_with_transformers_alone_loads_them(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every search space × BERT, RoBERTa and ModernBERT × task head; our packages cannot be found there."""
    asked, expected = [], []
    for model_type in [name for name in ("bert", "roberta", "modernbert") if name in ENCODER_FAMILIES]:
        for task_head in TASK_HEADS:
            model = tiny_model(model_type, task_head)
            for number, sub_network in enumerate(sub_networks_of_spaces(seed=3)):
                sliced = slice_model(model, sub_network)
                kind = "stock" if is_stock(sub_network, DIMENSIONS, get_family(model_type), sliced.config) else "ours"
                path = tmp_path / f"{model_type}-{task_head}-{number}-{kind}"
                path.mkdir()
                save_sliced_model(path, sliced, tokenizer, sub_network, DIMENSIONS, {})
                batch = tiny_batch(model)
                asked.append((str(path), {name: values.tolist() for name, values in batch.items()}))
                expected.append(answers(sliced, batch).detach())
    site = Path(torch.__file__).parents[1]
    code = f"import sys; sys.path[:] = [p for p in sys.path if p] + [{str(site)!r}]\n" + LOADER
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("LOGITS ")]
    assert len(lines) == len(asked), done.stderr[-2000:]
    for line, logits in zip(lines, expected, strict=True):
        torch.testing.assert_close(torch.tensor(json.loads(line[7:])), logits, rtol=1e-5, atol=1e-6)


def test_registering_is_enough(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    save_sliced_model(tmp_path, slice_model(tiny_model(), ODD), tokenizer, ODD, DIMENSIONS, {})
    code = (
        "import compressor\ncompressor.register()\nfrom transformers import pipeline\n"
        f"print(pipeline('text-classification', model={str(tmp_path)!r})('w1 w2')[0]['label'])"
    )
    source = str(Path(__file__).parents[3] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.startswith("LABEL_"), done.stderr[-2000:]


def test_the_stock_pipeline_reads_both_forms(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    for sub_network in (STOCK, ODD):
        path = tmp_path / sub_network.hash
        path.mkdir()
        save_sliced_model(path, slice_model(tiny_model(), sub_network), tokenizer, sub_network, DIMENSIONS, {})
        assert pipeline("text-classification", model=str(path))("w1 w2")[0]["label"].startswith("LABEL_")


@pytest.mark.parametrize("sub_network", [STOCK, ODD], ids=["stock", "ours"])
def test_the_stock_pipeline_finds_entities(
    sub_network: SubNetwork, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = tiny_model(task_head="token_classification")
    model.config.id2label = {0: "O", 1: "B-PER", 2: "I-PER"}
    sliced = slice_model(model, sub_network)
    save_sliced_model(tmp_path, sliced, tokenizer, sub_network, DIMENSIONS, {})
    text = "w1 w2 w3 w17 w23 w31 w9"
    tokens = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = tokens.pop("offset_mapping")[0].tolist()
    told = sliced(**tokens).logits[0].argmax(-1).tolist()
    expected = [
        (model.config.id2label[label], start, end)
        for label, (start, end) in zip(told, offsets, strict=True)
        if label and end
    ]
    assert expected
    found = pipeline("token-classification", model=str(tmp_path))(text)
    assert [(word["entity"], word["start"], word["end"]) for word in found] == expected
    grouped = pipeline("token-classification", model=str(tmp_path), aggregation_strategy="simple")(text)
    assert {group["entity_group"] for group in grouped} == {"PER"}


def test_weights_of_another_sub_network(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    other = SubNetwork(heads=((0,), (), ()), units=((), (1, 2, 20), ()))
    for sub_network, name in ((ODD, "odd"), (other, "other")):
        (tmp_path / name).mkdir()
        sliced = slice_model(tiny_model(), sub_network)
        save_sliced_model(tmp_path / name, sliced, tokenizer, sub_network, DIMENSIONS, {})
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "odd" / "model.safetensors")
    with pytest.raises(ModelError) as raised:
        load_sliced_model(tmp_path / "odd")
    assert str(raised.value) == (
        f"the files of {tmp_path}/odd must be as sub_network.json names them, but model.safetensors was changed. "
        "Restore them, or extract again with compressor extract."
    )
    info = json.loads((tmp_path / "odd" / "sub_network.json").read_text())
    del info["files"]  # as version 0.1.0 wrote it
    (tmp_path / "odd" / "sub_network.json").write_text(json.dumps(info))
    with pytest.raises(ModelError, match=r"the sliced model in .* must load, but it does not"):
        load_sliced_model(tmp_path / "odd")


def test_a_directory_that_is_not_sliced(base_model_dir: Path) -> None:
    with pytest.raises(ModelError, match=r"a sliced model must have a sub_network.json, but .* has none"):
        load_sliced_model(base_model_dir)


def test_parity_is_relative_to_the_logits() -> None:
    assert require_parity(np.array([100.0]), np.array([100.0005]), "two forms") == pytest.approx(5e-6)
    with pytest.raises(ParityError) as raised:
        require_parity(np.array([1.0]), np.array([1.5]), "two forms")
    assert str(raised.value) == (
        "two forms must agree within 1e-05 of the logit scale, but logits differ by 5.0e-01. Nothing was written."
    )
    with pytest.raises(ParityError):
        require_parity(np.array([1.0]), np.array([float("nan")]), "two forms")


def test_errors_may_differ_by_near_ties_alone() -> None:
    clear, tied = np.array([[2.0, 0.0]] * 10), np.array([[2.0, 0.0]] * 9 + [[2.0, 2.0]])
    rows: Any = None  # ties are told by the logits alone
    require_error(0.3, 0.3, clear, TASKS["custom"], rows)
    require_error(0.3, 0.4, tied, TASKS["custom"], rows)
    with pytest.raises(ParityError, match=r"must be the 0.300000 that was measured before, but is 0.400000"):
        require_error(0.3, 0.4, clear, TASKS["custom"], rows)
    close = np.linspace(0.0, 1.0, 5000)[:, None]  # neighbours closer than rounding, all of them
    require_error(0.3, 0.3005, close, TASKS["stsb"], rows)
    with pytest.raises(ParityError):
        require_error(0.3, 0.31, close, TASKS["stsb"], rows)
