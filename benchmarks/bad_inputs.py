"""The systematic part of `robustness.py`: bad inputs made from options, files, rows and addresses, each with a verdict.

A verdict says what exit code 0 would mean. `refuse`: something was accepted that must not be. `same`: that too, unless
the results are those of the undisturbed command (what was damaged is not read). `any`: nothing, the input may do; what
counts is that it ends in time and without a traceback. `accept`: the input is right, and an error would be wrong.
"""

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from conftest import sentence_rows
from fuzz.harness import READY, Case, Change, cut, drop_key, edit_json, flip, remove, write
from mlproject.cli import cli

TRAIN = (
    "train-supernet --model-name-or-path base --train-file train.jsonl --num-train-epochs 1 --save-strategy no "
    "--output-dir out"
)
SEARCH = "search --supernet net --num-samples 2 --output-dir out"
EXTRACT = "extract --search search --index 0 --finetune-epochs 0 --output-dir out"
EXPORT = "export --model model --precision fp32 --output-dir out"
BENCHMARK = "benchmark --model onnx --runs 1 --lengths 8 --batch-sizes 1 --output-dir out"
REPORT = "report --search search --model model --onnx onnx --benchmark benchmark --output-dir out"
NAS = (
    "nas --model-name-or-path base --train-file train.jsonl --num-train-epochs 1 --num-trials 1 --num-workers 1 "
    "--output-dir out"
)
COMPRESS = (
    "compress --model-name-or-path base --train-file train.jsonl --num-train-epochs 1 --num-samples 2 --runs 1 "
    "--lengths 8 --batch-sizes 1 --runtime onnxruntime --output-dir out"
)
COMPARE = "compare search nas --output-dir out"
COMMANDS = {
    words.split()[0]: words for words in (TRAIN, SEARCH, NAS, EXTRACT, EXPORT, BENCHMARK, COMPRESS, REPORT, COMPARE)
}
"""Each command as it works on the ready-made artifacts, small and quick."""
SECONDS = 120.0
"""After which a command counts as hung; on a busy machine a benchmark takes half of it."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A bad input, where it belongs, and what exit code 0 would mean."""

    area: str
    case: Case
    verdict: str
    """refuse, same, any or accept."""
    shows: str = ""
    """What the output of an accepted input must hold."""


def probe(area: str, name: str, words: str | tuple[str, ...], verdict: str, *change: Change, **more: Any) -> Probe:
    """A probe of a command."""
    case = Case(name=f"{area}: {name}", words=words, change=change, seconds=SECONDS, leaves=("out*", ".out*"), **more)
    return Probe(area=area, case=case, verdict=verdict)


# Options ----------------------------------------------------------------------------------------------------------

NOT_NUMBERS = (
    "",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "many",
    "1;5",
    "0x10",
    "[]",
    "None",
    "1 2",
    "é",
    "--5",
    "1;ls",
    "$(id)",
)
HUGE = ("1e400", "10" * 15, "1000000000", "100000000")
LEAST = {"index": 0, "finetune_epochs": 0, "dataset_seed": 0, "seed": 0, "max_seq_length": 4}
"""Of whole numbers that may be 0 (or must be more than 1)."""
MAY_BE_HUGE = {"seed", "dataset_seed", "max_train_samples", "max_eval_samples"}
ABOVE_0 = {"temperature", "learning_rate", "max_grad_norm", "max_params", "max_latency_ms", "max_wallclock_time"}
ODD_WORDS = ("nonsense", " ", ",", "a,,b", "nan", "-1", "é", "../..", "*", "x" * 300)
BROKEN_PATHS = (
    "nowhere", "/nowhere/at/all", "base", "/dev/null", "/dev/zero", "/proc/self/mem", "fifo", "loop", "dangling", ".",
    "x" * 300, "file:///etc/passwd", "http://localhost:1/x", "~nobody-of-that-name/x", "*", "empty.csv", "text.csv",
)  # fmt: skip
READ_FILES = {"train_file", "validation_file", "test_file", "config"}
READ_FOLDERS = {"model_name_or_path", "supernet", "search_dir", "model_dir", "models", "onnx_dir", "benchmark_dir"}


def odd_places(folder: Path) -> None:
    """Things that have a name but are no ordinary file."""
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "empty.csv").write_text("")
    (folder / "text.csv").write_text("This is\nno table.\n")


def bad_values(parameter: click.Parameter) -> Iterator[tuple[str, str]]:
    """Values that an option must not take, each with its verdict."""
    name, kind = str(parameter.name), parameter.type
    if isinstance(kind, click.Choice):
        yield from ((value, "refuse") for value in ODD_WORDS)
    elif kind.name in ("integer", "integers"):
        least = LEAST.get(name, 1)
        yield from ((value, "refuse") for value in (*NOT_NUMBERS[1:], "1.5", "-1", "-1000000000", str(least - 1)))
        yield from ((value, "any" if name in MAY_BE_HUGE else "refuse") for value in HUGE)
        if kind.name == "integers":
            yield from ((value, "refuse") for value in (",", "8,", "8,,8", "8,-1", "8,nan"))
    elif kind.name == "float":
        yield from ((value, "refuse") for value in (*NOT_NUMBERS[1:], "-inf"))
        yield from (
            (value, "refuse" if name != "max_error_increase" else "any") for value in ("-1", "-0.001", "-1e300")
        )
        yield from ((value, "any") for value in ("1e300", "1e-300"))
        yield ("0", "refuse" if name in ABOVE_0 else "any")
    elif kind.name == "boolean":
        yield from ((value, "refuse") for value in ("maybe", "2", "nan", "-1", "[]", "true,false"))
    elif name in READ_FILES | READ_FOLDERS:
        yield from (
            (value, "refuse") for value in BROKEN_PATHS if not (name == "model_name_or_path" and value == "base")
        )
    elif name == "output_dir":
        yield from ((value, "refuse") for value in ("train.jsonl", "net", "/dev/null", "/proc/x", "loop", "x" * 300))
    elif name == "alias":
        yield from ((value, "refuse") for value in ("v1", "a b", "latest", "x" * 300, "a/b"))
    elif name == "register_as":
        yield from ((value, "refuse") for value in ("a/b", "a:b", " ", "a.b/c"))
    elif name in ("objectives", "precision", "tiers", "text_columns", "label_column"):
        yield from ((value, "refuse") for value in ODD_WORDS)
    elif name in ("dataset_name", "dataset_config_name"):
        yield from ((value, "refuse") for value in ("nonsense", "../..", "a/b/c", "x" * 300))


def options() -> Iterator[Probe]:
    """Each option of each command with values that it must not take."""
    for command, words in COMMANDS.items():
        for parameter in cli.commands[command].params:
            option = max(parameter.opts, key=len)
            if not option.startswith("--") or getattr(parameter, "hidden", False):
                continue
            more = " --register-as known" if parameter.name == "alias" else ""
            if parameter.name == "dataset_name":
                words = words.replace(" --train-file train.jsonl", "")
            for value, verdict in dict(bad_values(parameter)).items():
                if verdict == "any" and command in ("nas", "compress"):
                    continue  # minutes of work, if it is allowed; the other commands show the same
                given = (*(words + more).split(), f"{option}={value}")
                yield probe("options", f"{command} {option}={value[:40]}", given, verdict, odd_places)
    together = {
        EXTRACT: ("--knee", "--all", "--max-params 1", "--tiers S,M", "--config x.json", "--max-error-increase 1"),
        EXPORT: ("--alias champion", "--precision fp32,fp32", "--precision int8,int8"),
        TRAIN: ("--dataset-name x", "--dataset-config-name x", "--text-column text --text-column text",
                "--label-column text", "--regression --metric f1", "--text-column a --text-column b --text-column c"),
        SEARCH: ("--resume --overwrite-output-dir", "--objectives error", "--objectives error,error"),
    }  # fmt: skip
    for words, several in together.items():
        yield from (
            probe("options", f"{words.split()[0]} {more} beside others", f"{words} {more}", "refuse")
            for more in several
        )


# Artifacts --------------------------------------------------------------------------------------------------------

ARTIFACTS = {
    "search/search_results.json": (EXTRACT, "same"),
    "model/extraction.json": (REPORT, "same"),
    "model/parity.json": (REPORT, "same"),
    "onnx/export.json": (BENCHMARK, "same"),
    "benchmark/latency.json": (REPORT, "same"),
    "net/super_network.json": (SEARCH, "same"),
    "model/sub_network.json": (EXPORT, "same"),
    "net/config.json": (SEARCH, "same"),
    "net/tokenizer_config.json": (SEARCH, "same"),
    "model/config.json": (EXPORT, "same"),
    "base/config.json": (TRAIN, "any"),
    "base/tokenizer_config.json": (TRAIN, "any"),
    "base/tokenizer.json": (TRAIN, "any"),
    "nas/search_results.json": ("extract --search nas --index 0 --output-dir out", "same"),
}
"""Each JSON file that a command reads, that command, and the verdict."""
NOT_WHOLE: dict[str, str | bytes] = {
    "empty": "", "null": "null", "a list": "[]", "an empty object": "{}", "a number": "1", "a text": '"x"',
    "NaN": "NaN",
    "no JSON": "x = 1\n", "bytes": b"\xff\xfe\x00", "deep": "[" * 100_000, "two documents": "{}\n{}\n",
}  # fmt: skip
WRONG: dict[type, tuple[Any, ...]] = {
    bool: ("yes", 7, None),
    int: (float("nan"), "many", -1, float("inf"), None, 10**30, [1]),
    float: (float("nan"), "many", -1.5, float("inf"), None, [1.0]),
    str: (7, "x" * 5000, "../../etc/passwd", None, ["x"]),
    list: ({}, None, [], "x", [None]),
    dict: ([], None, {}, "x"),
}
"""For a value of each type others that cannot stand in its place."""
NAMES = ("file", "model", "task_name", "search_space")
"""Keys whose text the results depend on: another text there is as wrong as a number."""
SIGNED = ("difference", "interval", "loss", "max_loss")
"""Keys whose numbers may be negative."""
MAX_PATHS = 36
"""Of places in one file that are damaged."""


def places(document: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values in a JSON document; of a list its first two members."""
    members: Any = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document[:2])
        if isinstance(document, list)
        else ()
    )
    for key, value in members:
        if "." not in str(key):
            yield f"{prefix}{key}", value
            yield from places(value, f"{prefix}{key}.")


OPTIONAL = ("error_interval", "finetuning", "int8", "reason", "repair", "run_id", "super_network", "test", "trivial")
"""What a file may lack or have as null: an older version knew it not, it was not measured, an option left it out."""


def artifacts(ready: Path) -> Iterator[Probe]:
    """Each JSON file damaged as a whole, and at each of its places."""
    for name, (words, verdict) in ARTIFACTS.items():
        size = (ready / name).stat().st_size
        whole: dict[str, Change] = {f"cut at {share:.0%}": cut(name, int(size * share)) for share in (0.1, 0.5, 0.99)}
        whole |= {what: write(name, content) for what, content in NOT_WHOLE.items()}
        whole["gone"] = remove(name)
        for what, change in whole.items():
            yield probe("artifacts", f"{name} {what}", words, "same" if verdict == "same" else "any", change)
        found = list(places(json.loads((ready / name).read_text())))
        step = max(1, len(found) // MAX_PATHS)
        for path, value in found[::step]:
            last = path.split(".")[-1]
            may_lack = last in OPTIONAL or (name == "benchmark/latency.json" and last == "error")
            # a list with one member less; what is there for people, or was not in version 0.1.0
            shorter = last.isdigit() or last in ("model_mb", "macs", "macs_length") or ".config." in path or may_lack
            yield probe(
                "artifacts", f"{name} without {path}", words, "any" if shorter else verdict, drop_key(name, path)
            )
            key = next((part for part in reversed(path.split(".")) if not part.isdigit()), "")
            for wrong in WRONG.get(type(value), ()):
                free = (isinstance(value, str) and isinstance(wrong, str) and key not in NAMES) or (
                    isinstance(wrong, float) and wrong < 0 and key in SIGNED
                )
                free = free or (wrong is None and may_lack)
                text = f"{name} {path} = {json.dumps(wrong)[:30]}"
                yield probe("artifacts", text, words, "any" if free else verdict, edit_json(name, path, wrong))


# Models -----------------------------------------------------------------------------------------------------------

MODEL_FILES = {
    "base/config.json": (TRAIN,), "base/model.safetensors": (TRAIN,), "base/tokenizer.json": (TRAIN,),
    "net/config.json": (SEARCH, EXTRACT), "net/model.safetensors": (SEARCH, EXTRACT),
    "net/tokenizer.json": (SEARCH, EXTRACT),
    "net/tokenizer_config.json": (SEARCH, EXTRACT), "net/super_network.json": (SEARCH, EXTRACT),
    "model/config.json": (EXPORT,), "model/model.safetensors": (EXPORT,), "model/tokenizer.json": (EXPORT,),
    "model/sub_network.json": (EXPORT,), "model/modeling_sliced.py": (EXPORT,),
    "onnx/model.onnx": (BENCHMARK,), "onnx/model.int8.onnx": (BENCHMARK,), "onnx/export.json": (BENCHMARK,),
}  # fmt: skip
"""Each file of a model directory and the commands that read it."""


def replace_by_folder(name: str) -> Change:
    """A folder in a file's place."""

    def change(folder: Path) -> None:
        remove(name)(folder)
        (folder / name).mkdir()

    return change


def zero(name: str) -> Change:
    """A file of as many zeros."""
    return lambda folder: (folder / name).write_bytes(bytes((folder / name).stat().st_size))


def models(ready: Path) -> Iterator[Probe]:
    """Each file of a model directory damaged."""
    for name, commands in MODEL_FILES.items():
        size = (ready / name).stat().st_size
        damages: dict[str, Change] = {"gone": remove(name), "empty": write(name), "zeroed": zero(name)}
        damages |= {"text": write(name, "hello\n" * 50), "a folder": replace_by_folder(name)}
        damages |= {f"cut at {share:.0%}": cut(name, int(size * share)) for share in (0.01, 0.25, 0.5, 0.75, 0.99)}
        damages |= {f"flipped at {share:.0%}": flip(name, share) for share in (0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)}
        for (what, change), words in itertools.product(damages.items(), commands):
            verdict = "any" if name.startswith("base") or name.endswith(".py") else "same"
            yield probe("models", f"{words.split()[0]} with {name} {what}", words, verdict, change)


# Rows -------------------------------------------------------------------------------------------------------------

GOOD = [(f"w{1 + i % 2} w{3 + i % 50} w{4 + i % 40}", str(i % 2)) for i in range(60)]


def csv(rows: list[tuple[str, str]] | None = None, header: str = "text,label", separator: str = ",") -> str:
    """A table as text."""
    return "\n".join([header, *(separator.join(row) for row in (GOOD if rows is None else rows))]) + "\n"


def with_label(*labels: Any) -> str:
    """Good texts as JSONL with these labels in turn."""
    return "".join(json.dumps({"text": t, "label": labels[i % len(labels)]}) + "\n" for i, (t, _) in enumerate(GOOD))


def with_text(*texts: Any) -> str:
    """Good labels as JSONL with these texts in turn."""
    return "".join(json.dumps({"text": texts[i % len(texts)], "label": i % 2}) + "\n" for i in range(60))


def rows() -> Iterator[Probe]:
    """Files of rows: encodings, shapes, labels and texts."""
    text, lines = csv(), with_label(0, 1)
    as_list = json.dumps([json.loads(line) for line in lines.splitlines()])
    deep = '{"text":' + '{"a":' * 3000 + "1" + "}" * 3000 + ',"label":0}\n'
    files: list[tuple[str, str, str | bytes, str, str]] = [
        ("plain", "csv", text, "", "accept"),
        ("byte-order mark", "csv", "\ufeff" + text, "", "accept"),
        ("byte-order mark", "jsonl", "\ufeff" + lines, "", "accept"),
        ("byte-order mark", "json", "\ufeff" + as_list, "", "accept"),
        ("Windows line ends", "csv", text.replace("\n", "\r\n"), "", "accept"),
        ("old Mac line ends", "csv", text.replace("\n", "\r"), "", "any"),
        ("no last line end", "jsonl", lines.rstrip(), "", "accept"),
        ("empty lines between", "jsonl", lines.replace("\n", "\n\n"), "", "accept"),
        ("UTF-16", "csv", text.encode("utf-16"), "", "refuse"),
        ("UTF-16 without a mark", "csv", text.encode("utf-16-le"), "", "refuse"),
        ("UTF-32", "jsonl", lines.encode("utf-32"), "", "refuse"),
        ("Latin-1", "csv", text.replace("w3", "café").encode("latin-1"), "", "refuse"),
        ("Latin-1", "jsonl", json.dumps({"text": "café"}, ensure_ascii=False).encode("latin-1"), "", "refuse"),
        ("NUL bytes", "csv", text.replace("w3", "w\0"), "", "any"),
        ("NUL bytes alone", "csv", "\0" * 1000, "", "refuse"),
        ("empty", "csv", "", "", "refuse"),
        ("empty", "tsv", "", "", "refuse"),
        ("empty", "jsonl", "", "", "refuse"),
        ("empty", "json", "", "", "refuse"),
        ("empty", "parquet", "", "", "refuse"),
        ("a header alone", "csv", "text,label\n", "", "refuse"),
        ("no header", "csv", csv(header=",".join(GOOD[0])), "", "refuse"),
        ("one row", "csv", csv(GOOD[:1]), "", "refuse"),  # of a test file one row is allowed
        ("two rows", "csv", csv(GOOD[:2]), "", "refuse"),
        ("too many fields", "csv", text + "a,b,c,d\n", "", "refuse"),
        ("too few fields", "csv", text + "alone\n", "", "refuse"),
        ("an open quote", "csv", text + '"w1 w2,1\nw3,0\n', "", "refuse"),
        ("duplicate columns", "csv", csv(header="text,text"), "--label-column text", "refuse"),
        ("duplicate columns", "csv", "text,label,label\n" + "w1 w2,0,1\nw2 w1,1,0\n" * 30, "", "refuse"),
        ("duplicate keys", "jsonl", '{"text": "w1", "text": "w2", "label": 0}\n' * 60, "", "any"),
        ("semicolons", "csv", csv(separator=";", header="text;label"), "", "refuse"),
        ("tabs", "csv", csv(separator="\t", header="text\tlabel"), "", "refuse"),
        ("commas", "tsv", text, "", "refuse"),
        ("stray quotes", "tsv", csv([(f'"{t}', x) for t, x in GOOD], "text\tlabel", "\t"), "", "any"),
        ("quoted text", "csv", csv([(f'"{t}, w9"', x) for t, x in GOOD]), "", "accept"),
        ("spaces in the header", "csv", csv(header=" text , label "), "", "any"),
        ("capitals in the header", "csv", csv(header="Text,Label"), "", "refuse"),
        ("no text column", "csv", csv(header="words,label"), "", "refuse"),
        ("no label column", "csv", csv(header="text,mood"), "", "refuse"),
        ("text column = label column", "csv", text, "--text-column label --label-column label", "refuse"),
        ("a column twice", "csv", text, "--text-column text,text", "refuse"),
        ("HTML", "csv", "<html><body>404</body></html>\n", "", "refuse"),
        ("JSONL", "csv", lines, "", "refuse"),
        ("CSV", "jsonl", text, "", "refuse"),
        ("CSV", "parquet", text, "", "refuse"),
        ("a ZIP", "csv", b"PK\x03\x04" + bytes(100), "", "refuse"),
        ("a GZIP", "jsonl", b"\x1f\x8b\x08" + bytes(100), "", "refuse"),
        ("half a line", "jsonl", lines[:-10], "", "refuse"),
        ("a list of lists", "json", json.dumps([list(row) for row in GOOD]), "", "refuse"),
        ("numbers", "json", "[1, 2, 3]", "", "refuse"),
        ("lines of numbers", "jsonl", "1\n2\n3\n" * 20, "", "refuse"),
        ("lines of lists", "jsonl", '["a", 1]\n' * 60, "", "refuse"),
        ("null lines", "jsonl", lines + "null\n", "", "refuse"),
        ("columns", "json", json.dumps({"text": [t for t, _ in GOOD], "label": [x for _, x in GOOD]}), "", "any"),
        ("deep", "jsonl", deep * 60, "", "refuse"),
        ("deep", "json", "[" * 100_000, "", "refuse"),
        ("no such suffix", "xlsx", b"PK", "", "refuse"),
        ("no such suffix", "txt", text, "", "refuse"),
        ("capital suffix", "CSV", text, "", "accept"),
        ("keys that are numbers", "jsonl", lines.replace('"text"', '"1"'), "--text-column 1", "accept"),
        *((f"labels {labels}"[:60], "jsonl", with_label(*labels), "", "refuse") for labels in BAD_LABELS),
        *((f"numbers {labels}"[:60], "jsonl", with_label(*labels), "--regression", "refuse") for labels in BAD_NUMBERS),
        *((f"texts {str(texts)[:40]}", "jsonl", with_text(*texts), "", verdict) for texts, verdict in TEXTS),
    ]  # fmt: skip
    for part, flag in (("train", "--train-file"), ("test", "--test-file"), ("validation", "--validation-file")):
        for what, suffix, content, more, verdict in files:
            if part != "train" and (verdict in ("accept", "any") or more or "row" in what or "labels" in what):
                continue
            words = f"{TRAIN} {flag} bad.{suffix} {more}"
            yield probe(
                "rows", f"{part}, {suffix}: {what} {more}".strip(), words, verdict, write(f"bad.{suffix}", content)
            )
    for labels in GOOD_LABELS:
        change, text = write("good.jsonl", with_label(*labels)), ", ".join(map(str, labels))
        one = probe("rows", f"train, jsonl: labels {text}", f"{TRAIN} --train-file good.jsonl", "accept", change)
        yield replace(one, shows=f"labels: {text}")
    same = {
        "validation = training": "--validation-file train.jsonl",
        "test = training": "--test-file train.jsonl",
        "test = validation": "--validation-file good.csv --test-file good.csv",
    }
    yield from (
        probe("rows", what, f"{TRAIN} {more}", "refuse", write("good.csv", text)) for what, more in same.items()
    )
    other = {
        "other label names": with_label("bad", "good"),
        "a third label": with_label(0, 1, 2),
        "flipped labels": "".join(
            json.dumps({**row, "label": int(row["label"] == 0)}) + "\n" for row in sentence_rows(80)
        ),
        "one row less": "".join(json.dumps(row) + "\n" for row in sentence_rows(80)[:-1]),
    }
    for what, content in other.items():
        yield probe("rows", f"search, {what} in the training's file", SEARCH, "refuse", write("train.jsonl", content))
        yield probe("rows", f"extract, {what} in the training's file", EXTRACT, "refuse", write("train.jsonl", content))
        if "flipped" not in what and "less" not in what:
            words = f"{SEARCH} --train-file other.jsonl"
            yield probe("rows", f"search, {what} in another file", words, "refuse", write("other.jsonl", content))
    yield probe("rows", "search with another --dataset-seed", f"{SEARCH} --dataset-seed 7", "refuse")


BAD_LABELS: list[tuple[Any, ...]] = [
    (0,), ("a",), ([0], [1]), ({"a": 0}, {"a": 1}), (None, 1), (None,), (0, 1, None), (float("nan"), 1), ("", "a"),
    tuple(range(60)),
]  # fmt: skip
GOOD_LABELS: list[tuple[Any, ...]] = [
    (0, 1), ("0", "1"), ("no", "yes"), (1, 2, 3), ("é", "ü"), (-1, 1), ("1.5", "2.5"), ("007", "7"), ("10", "1_0"),
    (2**60, 2**60 + 1, 2**60 + 2),
]  # fmt: skip
"""In the order in which they are shown."""
BAD_NUMBERS: list[tuple[Any, ...]] = [
    ("a", 1.0), (1.0,), (float("nan"), 1.0, 2.0), (float("inf"), 1.0), (None, 1.0), ([1.0], 2.0), ({}, 1.0),
    ("1e400", 1), ("", 1),
]  # fmt: skip
TEXTS: list[tuple[tuple[Any, ...], str]] = [
    (("",), "refuse"), (("   ",), "refuse"), (("", "w1"), "any"), ((1, 2), "refuse"), ((None, "w1"), "refuse"),
    ((["w1"], ["w2"]), "refuse"), (({"a": 1}, "w1"), "refuse"), ((True, "w1"), "refuse"), (("w1",), "any"),
    (("é\u0301\u202e", "😀" * 50), "any"), (("\ud800",), "refuse"), (("w1 " * 5000, "w2"), "any"),
    (("\x00\x01",), "any"),
]  # fmt: skip


# MLflow -----------------------------------------------------------------------------------------------------------

URIS = (
    "postgresql://localhost:1/x", "mysql://localhost:1/x", "mssql://x", "http://localhost:1", "http://127.0.0.1:1/x",
    "http://", "https://", "http://[::1", "http://localhost:99999", "http:///x", "ftp://localhost/x",
    "sqlite:////proc/nowhere/x.db", "sqlite:///train.jsonl", "sqlite:///base", "sqlite:///", "databricks",
    "databricks://x", "uc:x", "file:///dev/null", "file:///proc/x", "nonsense://x", "s3://x/y", "\\\\x\\y",
    "sqlite+nonsense:///x.db", "/dev/null/x", "train.jsonl",
)  # fmt: skip
ADDRESSES = (
    "runs:/", "runs://", "runs:/x", "runs:/x/y", "runs:/../../x", "models:/", "models:/x", "models:/x/1", "models:/x@y",
    "models:/x/none/y", "models:/@", "runs:/" + "0" * 32, "runs:/" + "0" * 32 + "/model", "models:/m-" + "0" * 32,
)  # fmt: skip


def tracking() -> Iterator[Probe]:
    """Addresses and names of MLflow that lead nowhere."""
    for uri in URIS:
        for words in (EXPORT, TRAIN):
            environment = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
            name = f"{words.split()[0]} with {uri}"
            yield probe("tracking", name, words, "refuse", environment=environment, database=True)
    names = (
        ("MLFLOW_RUN_ID", "x"), ("MLFLOW_RUN_ID", "0" * 32), ("MLFLOW_RUN_ID", "../.."), ("MLFLOW_EXPERIMENT_ID", "9"),
        ("MLFLOW_EXPERIMENT_ID", "x"), ("MLFLOW_EXPERIMENT_ID", "-1"), ("MLFLOW_EXPERIMENT_NAME", " "),
        ("MLFLOW_EXPERIMENT_NAME", "x" * 1000),
    )  # fmt: skip
    for name, value in names:
        verdict = "any" if name == "MLFLOW_EXPERIMENT_NAME" else "refuse"
        yield probe("tracking", f"{name}={value[:40]}", EXPORT, verdict, environment={name: value}, database=True)
    flags = {
        "search --supernet": SEARCH,
        "extract --search": EXTRACT,
        "export --model": EXPORT,
        "benchmark --model": BENCHMARK,
    }
    for address, (flag, words) in itertools.product(ADDRESSES, flags.items()):
        option = flag.split()[1]
        given = " ".join(
            words.replace(f"{option} {name} ", f"{option} {address} ") for name in READY if f"{option} {name} " in words
        )
        yield probe("tracking", f"{flag} {address}", given, "refuse", database=True)


# What a command was told and had done -----------------------------------------------------------------------------

GOES_ON = {"search": "search --supernet net --num-samples 5 --output-dir search"}
"""A command that goes on in the folder of what was made, with a larger budget."""
KEPT = ("command.json", "entries.jsonl", "delivered.jsonl", "journal.json", "stage.json")


def kept_files(ready: Path) -> Iterator[Probe]:
    """The files by which a command goes on, damaged: the outbox, the journal and the list of evaluations."""
    files = [f"{folder}/.compressor/{name}" for folder in ("net", "search", "onnx") for name in KEPT]
    files += ["search/evaluations.jsonl", "nas/evaluations.jsonl", "nas/trials/spec.json"]
    for name in files:
        if not (ready / name).is_file():
            continue
        folder, size = name.split("/")[0], (ready / name).stat().st_size
        damages: dict[str, Change] = {f"cut at {share:.0%}": cut(name, int(size * share)) for share in (0.1, 0.5, 0.99)}
        damages |= {what: write(name, content) for what, content in NOT_WHOLE.items()}
        damages |= {f"flipped at {share:.0%}": flip(name, share) for share in (0.1, 0.5, 0.9)}
        damages |= {"gone": remove(name), "a folder": replace_by_folder(name)}
        for what, change in damages.items():
            for words in (f"sync {folder}", GOES_ON.get(folder)):
                if words:
                    yield Probe(
                        area="kept files",
                        case=Case(name=f"{words.split()[0]} with {name} {what}", words=words, change=change,
                                  seconds=SECONDS, leaves=("*",)),
                        verdict="any",
                    )  # fmt: skip


def all_probes(ready: Path) -> list[Probe]:
    """All of them, always in the same order; `ready` holds the ready-made artifacts."""
    return [
        *options(), *artifacts(ready), *models(ready), *rows(), *tracking(), *kept_files(ready),
    ]  # fmt: skip
