"""Tiny random-weight models and small files: everything a test needs, without a network."""

from __future__ import annotations

import gc
import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # models are tiny, and other workers need the other cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from compressor.data.metrics.trivial import TrivialPredictor
from compressor.data.rows import Rows
from compressor.data.sources import DataSource
from compressor.data.tasks import TASKS
from compressor.errors import spelled_as_flags
from compressor.network.dimensions import EncoderDimensions
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.search.objectives import DEFAULT_OBJECTIVES
from compressor.search.options import SearchOptions
from compressor.search.record import EvaluatedSubNetwork, MeasuredAt, SearchOrigin, hypervolume_of, summarise
from compressor.training.settings import TrainingSettings
from quick import do_not_wait_for_the_disk, remember, remember_operators

if TYPE_CHECKING:  # what takes seconds is loaded where it is used; the process that hands out tests needs none of it
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

    from compressor.data.batches import EncodedRows
    from compressor.training.super_network import TrainingRecord

gc.set_threshold(50_000, 20, 20)  # exports make many objects; looking for rings among them took a tenth of the time

LAYERS, HEADS, UNITS, HIDDEN, VOCABULARY = 3, 4, 24, 16, 60
DIMENSIONS = EncoderDimensions(num_layers=LAYERS, num_heads=HEADS, num_units=UNITS, hidden_size=HIDDEN, head_size=4)
TASK_HEADS = ("classification", "regression", "multiple_choice", "token_classification", "embedding")
"""Those whose models differ: one with several labels computes as one with classes does."""
MAX_WORKERS = 8
"""Processes that run tests side by side; each takes about a gigabyte of memory."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process per core; where a file or a test is named none but this one, which starts sooner."""
    if any("::" in word or word.endswith(".py") for word in config.args):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests come first, then the longest: no process is left alone with one of them.

    One that starts a Ray cluster counts as five slow ones.
    """
    marks = {"slow": 1, "ray": 5}
    slow: Counter[Path] = Counter()
    for item in items:
        slow[item.path] += sum(count for name, count in marks.items() if item.get_closest_marker(name))
    all_items = Counter(item.path for item in items)
    items.sort(key=lambda item: (-slow[item.path], -all_items[item.path], item.path))


SWITCHES: dict[str, dict[str, Any]] = {
    "deberta-v2: as v2-xlarge": {
        "conv_kernel_size": 3,
        "conv_act": "gelu",
        "attention_head_size": 4,
        "pooler_hidden_size": HIDDEN,
        "pooler_hidden_act": "tanh",
        "pooler_dropout": 0,
    },
    "deberta-v2: absolute positions": {
        "relative_attention": False,
        "pos_att_type": None,
        "position_biased_input": True,
        "type_vocab_size": 2,
        "embedding_size": 12,
    },
    "deberta-v2: own projections, no buckets": {
        "share_att_key": False,
        "position_buckets": -1,
        "max_relative_positions": 12,
        "norm_rel_ebd": "none",
    },
    "deberta-v2: own keys alone": {"share_att_key": False, "pos_att_type": ["c2p"], "position_biased_input": True},
    "deberta-v2: shared queries alone": {"pos_att_type": ["p2c"], "position_buckets": -1, "legacy": False},
    "modernbert: biases": {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True},
    "modernbert: mean": {"classifier_pooling": "mean"},
    "modernbert: every second layer": {"global_attn_every_n_layers": 2, "reference_compile": True},
    "modernbert: local alone": {"layer_types": ["sliding_attention"] * LAYERS, "local_attention": 7},
    "modernbert: local first": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "modernbert: as mmBERT": {"local_rope_theta": 160000.0, "position_embedding_type": "sans_pos"},
    "modernbert: yarn": {
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10},
        "global_rope_theta": 80000.0,
    },
    "modernbert: other activations": {"hidden_activation": "relu", "classifier_activation": "silu"},
    "modernbert: no padding": {"pad_token_id": None, "deterministic_flash_attn": True, "tie_word_embeddings": False},
}
"""What checkpoints of a family set otherwise than `tiny_config`, by names that `tiny_config` takes too."""


def tiny_config(model_type: str) -> PreTrainedConfig:
    """A configuration of 3 layers, 4 heads of size 4 and 24 units, of a family or one of `SWITCHES`."""
    from transformers import (
        BertConfig,
        DebertaV2Config,
        DistilBertConfig,
        ElectraConfig,
        ModernBertConfig,
        MPNetConfig,
        RobertaConfig,
        XLMRobertaConfig,
    )
    from transformers.models.camembert import CamembertConfig

    switches = SWITCHES.get(model_type, {})
    model_type = model_type.partition(":")[0]
    if model_type == "distilbert":
        return DistilBertConfig(
            vocab_size=VOCABULARY,
            n_layers=LAYERS,
            n_heads=HEADS,
            dim=HIDDEN,
            hidden_dim=UNITS,
            max_position_embeddings=40,
            initializer_range=0.4,
        )
    classes = {
        "bert": BertConfig,
        "roberta": RobertaConfig,
        "xlm-roberta": XLMRobertaConfig,
        "camembert": CamembertConfig,
        "electra": ElectraConfig,
        "mpnet": MPNetConfig,
        "deberta-v2": DebertaV2Config,
        "modernbert": ModernBertConfig,
    }
    more: dict[str, Any] = {"embedding_size": 12} if model_type == "electra" else {}
    if model_type == "deberta-v2":  # as v3 and mDeBERTa are
        more = {
            "relative_attention": True,
            "position_buckets": 6,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": "p2c|c2p",
            "position_biased_input": False,
            "type_vocab_size": 0,
        }
    if model_type == "modernbert":
        more = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
        more["local_attention"] = 4  # layers 1 and 2 see two tokens to each side
    return classes[model_type](
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=UNITS,
        max_position_embeddings=40,
        initializer_range=0.4,
        **(more | switches),
    )


def tiny_model(
    model_type: str = "bert", task_head: str = "classification", attn_implementation: str = "sdpa", num_labels: int = 3
) -> PreTrainedModel:
    """A random-weight model, the same at each call, in evaluation mode."""
    return random_weights(tiny_config(model_type), task_head, attn_implementation, num_labels)


def random_weights(
    config: PreTrainedConfig, task_head: str, attn_implementation: str, num_labels: int = 3
) -> PreTrainedModel:
    """A model of a configuration, the same at each call, in evaluation mode."""
    import torch

    from compressor.data.heads import HEADS as OUR_HEADS
    from compressor.network.modeling_sliced import ENCODER_FAMILIES

    config.num_labels = 1 if task_head == "regression" else num_labels
    if task_head == "multi_label":
        config.problem_type = "multi_label_classification"
    if task_head == "embedding":
        config.sentence_embedding = {"mode": "mean", "normalize": True}
    auto = OUR_HEADS[task_head].form.auto_class
    with torch.random.fork_rng():
        torch.manual_seed(7)
        attention = ENCODER_FAMILIES[config.model_type].attention(attn_implementation)
        model = auto.from_config(config, attn_implementation=attention)
        for parameter in model.parameters():  # biases and LayerNorms of a new model are all alike: tell them apart
            if parameter.ndim == 1:
                parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval()


def tiny_batch(model: PreTrainedModel, batch_size: int = 3, length: int = 9) -> dict[str, torch.Tensor]:
    """Random inputs in which the second row is padded."""
    import torch

    choices = (2,) if type(model).__name__.endswith("MultipleChoice") else ()
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, VOCABULARY, (batch_size, *choices, length), generator=generator)
    mask = torch.ones_like(ids)
    if batch_size > 1:
        mask[1, ..., length // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def answers(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The outputs of a model of any head."""
    from compressor.data.batches import outputs_of

    return outputs_of(model, batch)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A word tokenizer of 60 words, with pairs and token types."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def write_slow_tokenizer(path: Path) -> None:
    """A tokenizer that transformers has in Python alone, without a tokenizer.json: it reads w and digits."""
    from transformers import PhobertTokenizer

    pieces = [*"w0123456789", *(f"{letter}@@" for letter in "w0123456789")]
    (path / "vocab.txt").write_text("".join(f"{piece} 1\n" for piece in pieces))
    (path / "bpe.codes").write_text("#version: 0.2\nw 1 1\n")
    PhobertTokenizer(str(path / "vocab.txt"), str(path / "bpe.codes")).save_pretrained(path)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """The word tokenizer, made once."""
    return word_tokenizer()


WORDS = [f"w{number}" for number in range(VOCABULARY - 5)]


def write_base_model(path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A pre-trained tiny BERT without a task head, as a user has it on disk."""
    import torch
    from transformers import BertModel

    with torch.random.fork_rng():
        torch.manual_seed(7)
        BertModel(tiny_config("bert")).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def base_model_dir(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """The tiny BERT, written once."""
    return write_base_model(tmp_path_factory.mktemp("base") / "tiny-bert", tokenizer)


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as JSONL and gives the file."""

    def write(rows: list[dict[str, object]], name: str = "train.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def sentence_rows(count: int = 60, seed: int = 0, label: str = "label") -> list[dict[str, object]]:
    """Rows whose label is told by one word: w1 positive, w2 negative."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for _ in range(count):
        positive = int(rng.integers(2))
        words = rng.choice(WORDS[3:], size=int(rng.integers(2, 9))).tolist()
        words.insert(int(rng.integers(len(words))), WORDS[1] if positive else WORDS[2])
        rows.append({"text": " ".join(words), label: positive})
    return rows


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test works in a folder of its own: MLflow's database and relative outputs land there.

    Errors name options as the command line does, as they are written in the sources.
    """
    import datasets.config

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    with spelled_as_flags():
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_libraries() -> None:
    do_not_wait_for_the_disk()
    remember_operators()


@pytest.fixture(scope="module", autouse=True)
def _old_objects_are_let_be() -> Iterator[None]:
    """What files before this one have left is not looked through by each collection, which would cost ever more."""
    gc.collect()
    gc.freeze()
    yield


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database as its migrations leave it: making one costs seconds, copying it hundredths."""
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def copy_database(source: Path, folder: Path) -> str:
    """The address of a copy of an MLflow database in a folder; the default experiment's artifacts go there too."""
    target = folder / "mlflow.db"
    shutil.copyfile(source, target)
    with sqlite3.connect(target) as database:
        location = f"{folder}/mlruns/0"
        database.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0", [location])
    database.close()
    return f"sqlite:///{target}"


@pytest.fixture
def mlflow_uri(migrated_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test's own MLflow database, which commands and clients use from here on."""
    import mlflow

    uri = copy_database(migrated_database, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    return uri


def training_record(**known: Any) -> TrainingRecord:
    """The record of a super-network's training, with these fields."""
    from compressor.training.super_network import TrainingRecord

    values = {
        "source": DataSource(),
        "data_digest": "0123456789abcdef",
        "label_names": ("no", "yes"),
        "model_name_or_path": "base",
        "settings": TrainingSettings(),
        "attn_implementation": "sdpa",
        "epochs": (),
    }
    return TrainingRecord(**{**values, **known})


@pytest.fixture
def quick_footprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load time and memory are not measured, in a process for each model: seconds where nobody looks at them."""
    from exporters.timing.footprint import Footprint

    footprint = Footprint(load_seconds=0.1, peak_mb=60.0)
    monkeypatch.setattr("exporters.benchmark.measure_footprint", lambda *_: footprint)


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of exported graphs, which all processes of a run of the tests share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "graphs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def quick_exports(graphs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of the same modules as one before is not traced again: seconds where tests look at what becomes of it.

    That two exports of a model are equal, `tests/exporters/graph/test_onnx_export.py` says.
    """
    import torch.onnx

    monkeypatch.setattr(torch.onnx, "export", remember(torch.onnx.export, graphs, refill=True))


def write_search(
    path: Path,
    points: Sequence[tuple[float, int]],
    *,
    full_params: int = 1000,
    source: DataSource | None = None,
    data_digest: str = "0123456789abcdef",
    supernet: Path | None = None,
    trivial: TrivialPredictor | None = None,
    **options: Any,
) -> Path:
    """The directory of a search that found these errors and parameter counts, the first being the super-network's."""
    from mlproject.stages.search_runs import write_search_results

    full = full_sub_network(DIMENSIONS)
    evaluations = [
        EvaluatedSubNetwork(
            index=index,
            name=f"subnet-{index:03d}",
            config=None,
            sub_network=full
            if index == 0
            else SubNetwork((*full.heads[:-1], ()), (tuple(range(index % UNITS)),) * LAYERS),
            error=error,
            params=params,
            relative_params=params / full_params,
            encoder_params=params,
            relative_encoder_params=params / full_params,
            eval_seconds=0.5,
            error_interval=(max(error - 0.1, 0.0), error + 0.1),
            test_error=error,
        )
        for index, (error, params) in enumerate(points)
    ]
    costs = {"params": float(full_params)}
    hypervolumes = [hypervolume_of(evaluations[: n + 1], DEFAULT_OBJECTIVES, costs) for n in range(len(evaluations))]
    result = replace(summarise(evaluations, hypervolumes, DEFAULT_OBJECTIVES, costs), trivial=trivial)
    given = SearchOptions(search_space="small", search_strategy="random_search", num_samples=len(points))
    origin = SearchOrigin(
        supernet=str(supernet or path / "net"),
        supernet_digest="fedcba9876543210",
        source=source or DataSource(),
        data_digest=data_digest,
        options=asdict(given) | options,
        measured_at=MeasuredAt(length=26),
        dimensions=DIMENSIONS,
        seconds=2.0,
    )
    write_search_results(path, replace(result, origin=origin), "searched")
    return path


def encoded_sentences(tokenizer: PreTrainedTokenizerFast, count: int, seed: int = 0) -> EncodedRows:
    """`sentence_rows` as tokens of the task `custom`."""
    from compressor.data.batches import encode

    rows = sentence_rows(count, seed)
    texts = tuple((str(row["text"]),) for row in rows)
    labels = np.array([row["label"] for row in rows])
    return encode(Rows(texts=texts, labels=labels), TASKS["custom"], tokenizer, 40)
