"""Models that are timed: a graph in its runtime, or a model directory in PyTorch (eager), behind a common interface."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compressor.errors import ModelError, shorten
from exporters.graph.sessions import GRAPH_SUFFIXES, PROVIDERS, create_session, run_session

Inputs = dict[str, np.ndarray]
OUTPUT_NAMES = ("logits", "sentence_embedding")
"""What a graph may give."""
INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")
"""What a graph may take."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """A loaded model that takes tokens."""

    run: Callable[[Inputs], object]
    input_names: tuple[str, ...]
    takes_choices: bool
    vocab_size: int
    max_positions: int
    """The longest text in tokens."""
    provider: str = "cpu"
    """Where it computes, as the runtime itself says."""


def open_runner(path: Path, threads: int, provider: str = "cpu") -> Runner:
    """Return the runner of an ONNX file or IR, or of a model directory made by `extract` or `train-supernet`."""
    is_graph = path.suffix in GRAPH_SUFFIXES and not path.is_dir()
    return _open_graph(path, threads, provider) if is_graph else _open_pytorch(path, provider)


def _open_graph(path: Path, threads: int, provider: str) -> Runner:
    session = create_session(path, threads, provider)
    metadata = session.get_modelmeta().custom_metadata_map
    entries, outputs = session.get_inputs(), [entry.name for entry in session.get_outputs()]
    names = [entry.name for entry in entries]
    # [batch, length], or [batch, choices, length].
    right = all(entry.type == "tensor(int64)" and len(entry.shape) in (2, 3) for entry in entries)
    if not (right and {"input_ids"} <= set(names) <= set(INPUT_NAMES) and outputs[0] in OUTPUT_NAMES):
        takes = ", ".join(f"{entry.name} {entry.type}{entry.shape}" for entry in entries)
        raise ModelError(
            f"a graph must take int64 token ids ({', '.join(INPUT_NAMES)}) and give logits, but {path} takes "
            f"{takes or 'nothing'} and gives {', '.join(outputs)}. Use a file made by compressor export."
        )

    def run(inputs: Inputs) -> object:
        try:
            return run_session(session, inputs)
        except Exception as error:  # the runtimes' errors have no base of their own
            raise ModelError(
                f"a graph must answer random tokens, but {path} does not: {shorten(error)}. "
                "Make it again with compressor export."
            ) from error

    return Runner(
        run=run,
        input_names=tuple(names),
        takes_choices=len(entries[0].shape) == 3,
        # Graphs from elsewhere do not say how many tokens they know; few ids and any length are tried then.
        vocab_size=int(metadata.get("vocab_size", 1000)),
        max_positions=int(metadata.get("max_positions", 1_000_000)),
        provider=next(name for name, known in PROVIDERS.items() if known == session.get_providers()[0]),
    )


def _open_pytorch(path: Path, provider: str) -> Runner:
    import inspect

    import torch

    from compressor.data.heads import form_of
    from compressor.network.families import max_positions
    from compressor.network.saving import is_sliced, load_sliced_model
    from compressor.training.super_network import load_super_network

    opened = load_sliced_model(path) if is_sliced(path) else load_super_network(path)
    model = opened.model.to(provider).eval()
    form = form_of(model)
    known = inspect.signature(model.forward).parameters
    names = [name for name in opened.tokenizer.model_input_names if name in known]

    def run(inputs: Inputs) -> object:
        with torch.inference_mode():
            batch = {name: torch.from_numpy(inputs[name]).to(model.device) for name in names}
            # `.cpu()` waits for a GPU, so that its work is timed and not only begun.
            return form.read(model(**batch), batch["attention_mask"], model.config).cpu()

    return Runner(
        run=run,
        input_names=tuple(names),
        takes_choices=form.takes_choices,
        vocab_size=model.config.vocab_size,
        max_positions=max_positions(model),
        provider=model.device.type,
    )


def make_inputs(runner: Runner, lengths: Sequence[int], num_choices: int = 4, seed: int = 0) -> Inputs:
    """Return random tokens for texts of these lengths, padded to the longest: [batch, (choices,) length]."""
    width = min(max(lengths), runner.max_positions)
    mask = (np.arange(width) < np.minimum(lengths, width)[:, None]).astype(np.int64)
    # Below 5 are special tokens in most vocabularies; padding is 0, and masked.
    ids = np.random.default_rng(seed).integers(5, runner.vocab_size, mask.shape) * mask
    values: Mapping[str, np.ndarray] = {
        "input_ids": ids,
        "token_type_ids": np.zeros_like(ids),
        "attention_mask": mask,
    }
    if runner.takes_choices:
        values = {name: np.repeat(array[:, None], num_choices, axis=1) for name, array in values.items()}
    return {name: values[name] for name in runner.input_names}
