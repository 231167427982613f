"""Model directories that are broken, changed, of two models, or bring code along; names that are none."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fuzz.harness import Case, Change, cut, drop_key, edit_json, remove, write

TRAIN = "train-supernet --model-name-or-path base --train-file train.jsonl --num-train-epochs 1"
COMMANDS = {"base": TRAIN, "net": "search --supernet net", "model": "export --model model"}
"""A command that reads each kind of model."""
READERS = {
    "net": ("search --supernet net", "extract --search search", "export --model net", "benchmark --model net"),
    "model": ("export --model model", "benchmark --model model"),
}
"""Every command that reads what a stage made."""

NOT_JSON = "the file {folder}/FILE must hold JSON, but does not parse: …. Make it again."
SIZES = (
    "the sizes in config.json must be those of an encoder, but in {folder}/DIR …KEY…. Restore the file as "
    "save_pretrained wrote it."
)
FIT = (
    "config.json must fit the weights beside it, but in {folder}/DIR …KEY…. Use the files of one model as "
    "save_pretrained wrote them."
)
WHOLE = (
    "{folder}/DIR/model.safetensors must be a whole safetensors file, but …. Restore it, or save the model again with "
    "save_pretrained."
)
PICKLED = (
    "a model directory must hold safetensors weights, but {folder}/DIR has none. Save the model with save_pretrained "
    "(pickled .bin weights are not read)."
)
CHANGED = "the files of {folder}/DIR must be as …json names them, but FILE. Restore them, or … again with compressor …."
FAMILY = "the encoder family must be one of …, but got …. Choose a model of a supported family."
TOKENIZER = "the tokenizer of …DIR must load, but it does not: …. Restore its files as save_pretrained wrote them."
NO_TOKENIZER = (
    "a model directory must hold its tokenizer, but {folder}/DIR has neither tokenizer.json nor a vocabulary. Save it "
    "there with the tokenizer's save_pretrained."
)
NO_PATH = "a path must be one that a disk can have, but …. Correct it."
CODE = """from transformers import BertConfig

open("it-ran", "w").close()


class Evil(BertConfig):
    model_type = "evil"
"""


def weights(name: str, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Change:
    """The tensors of a file, changed."""

    def make(folder: Path) -> None:
        save_file(change(load_file(folder / name)), folder / name, metadata={"format": "pt"})

    return make


def spoil(value: float) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """One number of all is another one."""

    def change(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors[min(tensors)].view(-1)[0] = value
        return tensors

    return change


def swap_words(name: str) -> Change:
    """A tokenizer that gives words the ids of other ones."""

    def change(folder: Path) -> None:
        path = folder / name
        tokenizer = json.loads(path.read_text())
        words = tokenizer["model"]["vocab"]
        words["w3"], words["w4"] = words["w4"], words["w3"]
        path.write_text(json.dumps(tokenizer))

    return change


def link(name: str) -> Change:
    """A link to itself in place of a file or a folder."""

    def change(folder: Path) -> None:
        remove(name)(folder)
        (folder / name).symlink_to(folder / name)

    return change


def code(name: str) -> tuple[Change, ...]:
    """A model that brings a class of its own along."""
    config = f"{name}/config.json"
    auto_map = {"AutoConfig": "evil.Evil", "AutoModelForSequenceClassification": "evil.Evil"}
    return (
        write(f"{name}/evil.py", CODE),
        edit_json(config, "model_type", "evil"),
        edit_json(config, "auto_map", auto_map),
    )


def changed(name: str) -> dict[str, tuple[Change, str]]:
    """What is changed in a directory behind its maker's back, and how the message calls it."""
    config, tokenizer = f"{name}/config.json", f"{name}/tokenizer.json"
    return {
        "activation": (edit_json(config, "hidden_act", "relu"), "config.json was changed"),
        "epsilon": (edit_json(config, "layer_norm_eps", 0.1), "config.json was changed"),
        "label names": (edit_json(config, "id2label", {"0": "1", "1": "0"}), "config.json was changed"),
        "words": (swap_words(tokenizer), "tokenizer.json was changed"),
        "padding": (edit_json(f"{name}/tokenizer_config.json", "pad_token", "w1"), "tokenizer_config.json was changed"),
        "no tokenizer_config": (remove(f"{name}/tokenizer_config.json"), "tokenizer_config.json is missing"),
        "an older tokenizer beside": (write(f"{name}/vocab.txt", "[PAD]\n"), "vocab.txt was added"),
        "weights": (weights(f"{name}/model.safetensors", spoil(3.0)), "model.safetensors was changed"),
    }


def broken_weights(name: str) -> dict[str, tuple[Change, str]]:
    """What is wrong with the weights of a directory, and what is said of it."""
    file = f"{name}/model.safetensors"
    return {
        "empty": (write(file), WHOLE),
        "cut": (cut(file, 3000), WHOLE),
        "without the last bytes": (lambda folder: cut(file, (folder / file).stat().st_size - 8)(folder), WHOLE),
        "no header": (write(file, b"\0" * 64), WHOLE),
        "a header beyond the file": (write(file, struct.pack("<Q", 2**60) + b"{}"), WHOLE),
        "a header that is no JSON": (write(file, struct.pack("<Q", 8) + b"not JSON"), WHOLE),
        "a header that is a list": (write(file, struct.pack("<Q", 2) + b"[]"), WHOLE),
        "no tensor": (write(file, struct.pack("<Q", 2) + b"{}"), WHOLE),
        "gone": (remove(file), PICKLED),
        "pickled": (lambda folder: (folder / file).rename(folder / name / "pytorch_model.bin"), PICKLED),
        "quantized": (
            weights(file, lambda tensors: {name: tensor.to(torch.int8) for name, tensor in tensors.items()}),
            "weights must be floating-point numbers, but … of {folder}/DIR is I8. Use a checkpoint that is not "
            "quantized.",
        ),
    }


def _with(error: str, name: str, **values: str) -> str:
    for key, value in {"DIR": name, **values}.items():
        error = error.replace(key, value)
    return error


CASES = [
    *(
        Case(name=f"{name}, {what} changed: {words}", words=words, change=change, error=_with(CHANGED, name, FILE=said))
        for name, readers in READERS.items()
        for words in readers
        for what, (change, said) in changed(name).items()
    ),
    *(
        Case(
            name=f"{name}, config.json {what}",
            words=words,
            change=change,
            error=_with(error, name, FILE=f"{name}/config.json"),
        )
        for name, words in COMMANDS.items()
        for what, change, error in (
            ("empty", write(f"{name}/config.json"), NOT_JSON),
            ("cut", cut(f"{name}/config.json", 200), NOT_JSON),
            ("nested without end", write(f"{name}/config.json", "[" * 100_000), NOT_JSON),
            ("with NaN", write(f"{name}/config.json", '{"layer_norm_eps": NaN}'), NOT_JSON),
            *(
                (
                    what,
                    write(f"{name}/config.json", what),
                    "config.json must be an object with a model_type, but that of {folder}/DIR is not. Use a directory "
                    "made by save_pretrained.",
                )
                for what in ("[]", "{}", "null", "3")
            ),
            ("of another family", edit_json(f"{name}/config.json", "model_type", "gpt2"), FAMILY),
        )
    ),
    *(
        Case(
            name=f"{name}, {key} of {value!r}",
            words=words,
            change=edit_json(f"{name}/config.json", key, value),
            error=_with(FIT if wrong_only_here else SIZES, name, KEY=key),
        )
        for name, words in COMMANDS.items()
        for key in ("num_hidden_layers", "vocab_size", "max_position_embeddings", "num_attention_heads")
        for value, wrong_only_here in (
            *((value, False) for value in (-1, 10**9, 10**18, 3.5, "16", None, [], True)),
            *(((10**5, True),) if key != "num_attention_heads" else ()),
        )
    ),
    *(
        Case(
            name=f"{name}, heads that do not divide",
            words=words,
            change=edit_json(f"{name}/config.json", "num_attention_heads", 3),
            error=_with(SIZES, name, KEY="3 heads do not divide a hidden size of 16"),
        )
        for name, words in COMMANDS.items()
    ),
    *(
        Case(name=f"{name}, weights {what}", words=words, change=change, error=_with(error, name))
        for name, words in COMMANDS.items()
        for what, (change, error) in broken_weights(name).items()
    ),
    *(
        Case(
            name=f"base, weights with {value}",
            words=TRAIN,
            change=weights("base/model.safetensors", spoil(value)),
            error="the weights of base must be finite, but … holds NaN or infinity. Use another checkpoint.",
        )
        for value in (float("nan"), float("inf"), float("-inf"))
    ),
    *(
        Case(name=f"base, {what}", words=TRAIN, change=change, error=_with(error, "base"), seconds=30)
        for what, change, error in (
            ("tokenizer.json empty", write("base/tokenizer.json"), TOKENIZER),
            ("tokenizer.json cut", cut("base/tokenizer.json", 900), TOKENIZER),
            ("tokenizer.json a list", write("base/tokenizer.json", "[]"), TOKENIZER),
            ("tokenizer.json of an unknown kind", edit_json("base/tokenizer.json", "model.type", "Nope"), TOKENIZER),
            ("tokenizer.json with a negative id", edit_json("base/tokenizer.json", "model.vocab.w3", -4), TOKENIZER),
            ("no tokenizer", lambda folder: [f.unlink() for f in (folder / "base").glob("tok*")], NO_TOKENIZER),
            ("no tokenizer.json", remove("base/tokenizer.json"), NO_TOKENIZER),
            (
                "a tokenizer without padding",
                drop_key("base/tokenizer_config.json", "pad_token"),
                "the tokenizer of … must have a padding token, but has none. Add one to it.",
            ),
            (
                "a tokenizer of a larger model",
                edit_json("base/tokenizer.json", "model.vocab.more", 60),
                'the tokenizer of base must have ids below the 60 rows of the embedding table, but "more" has 60. Use '
                "the tokenizer that the model was trained with.",
            ),
            (
                "a tokenizer with other inputs",
                edit_json("base/tokenizer_config.json", "model_input_names", ["pixels"]),
                "the tokenizer of … must turn words into input_ids, but makes no input_ids. Restore its files as "
                "save_pretrained wrote them.",
            ),
            (
                "relative positions",
                edit_json("base/config.json", "position_embedding_type", "relative_key"),
                "an encoder must have absolute positions, but position_embedding_type of {folder}/base is "
                '"relative_key". Choose another model.',
            ),
        )
    ),
    *(
        Case(name=f"{name}, code of its own: {words}", words=words, change=code(name), error=FAMILY)
        for name, commands in {"base": (TRAIN,), **READERS}.items()
        for words in commands
    ),
    *(
        Case(
            name=f"{command}, a name that is {what}",
            words=(*command.split(), name),
            error=NO_PATH,
        )
        for command in (
            "train-supernet --train-file train.jsonl --model-name-or-path",
            "search --supernet",
            "export --model",
            "extract --search",
            "report --search",
            "benchmark --model",
        )
        for what, name in (
            ("blank", "  "),
            ("very long", "x" * 5000),
            ("of two lines", "net\nmodel"),
            ("colourful", "\x1b[31mnet"),
        )
    ),
    *(
        Case(name=f"{name}, a link to itself", words=words, change=link(name), error=NO_PATH)
        for name, words in COMMANDS.items()
    ),
    Case(
        name="a graph of another form behind export.json",
        words="benchmark --model onnx",
        change=lambda folder: shutil.copy(folder / "onnx/model.int8.onnx", folder / "onnx/model.onnx"),
        error=_with(CHANGED, "onnx", FILE="model.onnx was changed"),
    ),
    Case(
        name="one graph of another form behind export.json",
        words="benchmark --model onnx/model.onnx",
        change=lambda folder: shutil.copy(folder / "onnx/model.int8.onnx", folder / "onnx/model.onnx"),
        error=_with(CHANGED, "onnx", FILE="model.onnx was changed"),
    ),
    Case(
        name="a report of a graph of another form",
        words="report --search search --model model --onnx onnx",
        change=lambda folder: shutil.copy(folder / "onnx/model.int8.onnx", folder / "onnx/model.onnx"),
        error=_with(CHANGED, "onnx", FILE="model.onnx was changed"),
    ),
    *(
        Case(
            name=f"export.json names {file!r}: {words.split()[0]}",
            words=words,
            change=edit_json("onnx/export.json", "forms.fp32.file", file),
            error="the variants in {folder}/onnx/export.json must be fp32 and others, each a file beside it, but it "
            "names …. Restore it, or export again with compressor export.",
        )
        for words in ("benchmark --model onnx", "report --search search --model model --onnx onnx")
        for file in ("/etc/hostname", "../model/model.safetensors", "folder/model.onnx", "..", "", "a\\b")
    ),
    *(
        Case(
            name=f"export.json names a file that is gone: {words.split()[0]}",
            words=words,
            change=remove("onnx/model.int8.onnx"),
            error=_with(CHANGED, "onnx", FILE="model.int8.onnx is missing"),
        )
        for words in ("benchmark --model onnx", "report --search search --model model --onnx onnx")
    ),
]
