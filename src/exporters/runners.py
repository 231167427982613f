"""Models that are timed: an ONNX file in ONNX Runtime, or a model directory in PyTorch (eager), behind one face."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporters.sessions import create_session, run_session

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Runner:
    """A loaded model that takes tokens."""

    run: Callable[[Inputs], object]
    input_names: tuple[str, ...]
    picks_choices: bool
    vocab_size: int
    max_positions: int
    """The longest text in tokens."""


def open_runner(path: Path, threads: int, provider: str = "cpu") -> Runner:
    """The runner of an ONNX file, or of a model directory made by `extract` or `train-supernet`."""
    return _open_onnx(path, threads, provider) if path.is_file() else _open_pytorch(path, provider)


def _open_onnx(path: Path, threads: int, provider: str) -> Runner:
    session = create_session(path, threads, provider)
    metadata = session.get_modelmeta().custom_metadata_map
    entries = session.get_inputs()
    return Runner(
        run=lambda inputs: run_session(session, inputs),
        input_names=tuple(entry.name for entry in entries),
        picks_choices=len(entries[0].shape) == 3,
        vocab_size=int(metadata.get("vocab_size", 1000)),
        max_positions=int(metadata.get("max_positions", 1_000_000)),
    )


def _open_pytorch(path: Path, provider: str) -> Runner:
    import inspect

    import torch

    from compressor.extraction import is_sliced, load_sliced_model
    from compressor.families import max_positions, picks_choices
    from compressor.models import load_super_network

    opened = load_sliced_model(path) if is_sliced(path) else load_super_network(path)
    model = opened.model.to(provider).eval()
    known = inspect.signature(model.forward).parameters
    names = [name for name in opened.tokenizer.model_input_names if name in known]

    def run(inputs: Inputs) -> object:
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(inputs[name]).to(model.device) for name in names}).logits.cpu()

    return Runner(
        run=run,
        input_names=tuple(names),
        picks_choices=picks_choices(model),
        vocab_size=model.config.vocab_size,
        max_positions=max_positions(model),
    )


def make_inputs(runner: Runner, lengths: Sequence[int], num_choices: int = 4, seed: int = 0) -> Inputs:
    """Random tokens for texts of these lengths, padded to the longest: [batch, (choices,) length]."""
    width = min(max(lengths), runner.max_positions)
    mask = (np.arange(width) < np.minimum(lengths, width)[:, None]).astype(np.int64)
    ids = np.random.default_rng(seed).integers(5, runner.vocab_size, mask.shape) * mask
    values: Mapping[str, np.ndarray] = {
        "input_ids": ids,
        "token_type_ids": np.zeros_like(ids),
        "attention_mask": mask,
    }
    if runner.picks_choices:
        values = {name: np.repeat(array[:, None], num_choices, axis=1) for name, array in values.items()}
    return {name: values[name] for name in runner.input_names}
