"""How much memory a million rows of 32 tokens take beside the model: read, split, tokenised, trained on, evaluated.

Each reader is measured with another head, in a process of its own, whose model is tiny. What is told is the highest
resident memory (VmHWM, pages of mapped files included) over what the process had with its model loaded.
`python benchmarks/memory_of_rows.py` takes about ten minutes and 2 GB of disk; `--rows` takes fewer.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

READERS = {"csv": "custom", "jsonl": "multi-label", "parquet": "rerank", "conll": "ner", "txt": "embed"}
"""Kinds of files, and the task whose rows they hold."""
_WORDS = ("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state")
"""One token each."""
_AT_ONCE = 100_000


def main() -> None:
    """Measures each reader; one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--reader", choices=READERS, action="append", help="default: all")
    parser.add_argument("--measured", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measured:
        print(json.dumps(measure(Path(arguments.measured), arguments.reader[0])))
        return
    found = {}
    for reader in arguments.reader or READERS:
        with tempfile.TemporaryDirectory() as folder:
            write_rows(Path(folder) / f"rows.{reader}", arguments.rows, arguments.tokens)
            found[reader] = measure_apart(Path(folder), reader)
        print(reader, found[reader], flush=True)
    print(json.dumps({"benchmark": "memory_of_rows", "rows": arguments.rows, "tokens": arguments.tokens, **found}))


def write_rows(file: Path, num_rows: int, num_tokens: int) -> None:
    """Write rows of so many tokens, special ones included, as the task of the file's kind reads them."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    if file.suffix == ".parquet":
        kinds = pyarrow.schema({"query": pyarrow.string(), "document": pyarrow.string(), "label": pyarrow.int64()})
        with ParquetWriter(file, kinds) as writer:
            for rows in _make_rows(num_rows, num_tokens - 3):
                columns = {
                    "query": [f"{row[0]} {number // 10}" for number, row in rows],
                    "document": [" ".join(row[4:]) for _, row in rows],
                    "label": [number % 2 for number, _ in rows],
                }
                writer.write_table(pyarrow.table(columns, kinds))
        return
    with file.open("w") as written:
        written.write("text,label\n" * (file.suffix == ".csv"))
        for rows in _make_rows(num_rows, num_tokens - 2):
            written.writelines(_write_row(file.suffix, number, row) for number, row in rows)


def _make_rows(num_rows: int, num_words: int) -> Iterator[list[tuple[int, list[str]]]]:
    rng = np.random.default_rng(0)
    for start in range(0, num_rows, _AT_ONCE):
        drawn = rng.integers(len(_WORDS), size=(min(_AT_ONCE, num_rows - start), num_words)).tolist()
        yield [(start + row, [_WORDS[word] for word in words]) for row, words in enumerate(drawn)]


def _write_row(suffix: str, number: int, words: list[str]) -> str:
    if suffix == ".conll":
        return "".join(f"{word} {'B-PER' if word == 'man' else 'O'}\n" for word in words) + "\n"
    if suffix == ".jsonl":
        return json.dumps({"text": " ".join(words), "labels": [words[0]] * (number % 2)}) + "\n"
    if suffix == ".csv":  # in quotes, as texts with commas are
        return f'"{words[0]}, {" ".join(words[2:])}",{number % 2}\n'
    return " ".join(words) + "\n"


def measure_apart(folder: Path, reader: str) -> dict[str, Any]:
    """Measure the rows of a folder in a process of its own, with a cache of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--measured", str(folder), "--reader", reader],
        env={**os.environ, "HF_DATASETS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(folder: Path, reader: str) -> dict[str, Any]:
    """The highest memory after each step, in GB over that of the process with its model, and the seconds of each."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    from compressor.data.batches import encode_parts, training_batches
    from compressor.data.demo import find_demo_model
    from compressor.data.loading import load_task_data
    from compressor.data.sources import make_source
    from compressor.evaluation.evaluator import Evaluator
    from compressor.network.loading import load_base_model
    from compressor.training.loop import run_updates
    from compressor.training.settings import TrainingSettings
    from compressor.training.strategies import Update

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    base = folder / "model"
    BertModel(BertConfig(**sizes)).save_pretrained(base)
    AutoTokenizer.from_pretrained(find_demo_model()).save_pretrained(base)
    task = READERS[reader]
    file = "unlabeled_file" if reader == "txt" else "train_file"
    more = {"reference_model": str(base)} if reader == "txt" else {}
    source = make_source(task_name=task, **{file: str(folder / f"rows.{reader}")}, **more)
    settings, seconds, peaks = TrainingSettings(per_device_train_batch_size=32), {}, {}
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sklearn.metrics  # noqa: F401

    torch.set_num_threads(1)
    before, start = _memory("VmRSS"), time.perf_counter()

    def note(step: str) -> None:
        nonlocal start
        seconds[step], peaks[step] = round(time.perf_counter() - start, 1), round(_memory("VmHWM") - before, 2)
        start = time.perf_counter()

    data = load_task_data(source)
    note("read")
    model, tokenizer = load_base_model(str(base), data.task, data.label_names, seed=0)
    parts = encode_parts(data, tokenizer, 512)
    note("tokenise")
    num_tokens = sum(int(rows.offsets[-1]) for rows in (parts.train, parts.validation, parts.test))
    for step, (units, batch) in enumerate(training_batches(parts.train, 32, np.random.default_rng(0))):
        if step < 100:  # all batches are made, a few are trained on
            labels = torch.from_numpy(parts.train.targets[units])
            run_updates(model, batch, labels, [Update(None)], settings, data.task.head)
    note("train")
    error = Evaluator(model, data.task, parts.validation).evaluate().error
    note("evaluate")
    return {
        "task": task,
        "tokens": num_tokens,
        "peak_gb": peaks,
        "now_gb": round(_memory("VmRSS") - before, 2),
        "seconds": seconds,
        "error": error,
    }


def _memory(name: str) -> float:
    """A line of Linux's account of this process's memory, in GB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024 / 1e9


if __name__ == "__main__":
    main()
