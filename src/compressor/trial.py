"""One trial of standard NAS, a process of its own: `python -m compressor.trial DIRECTORY`.

Cuts the sub-network out of the pre-trained model first, so that a small one trains fast, fine-tunes it alone, and
reports to Syne Tune after each epoch. Weights are saved before they are reported, so that what was reported exists.
"""

import os
import sys
from pathlib import Path
from typing import Any

from compressor.errors import CompressorError
from compressor.files import new_directory, read_json

SPEC_FILE, TRIAL_FILE = "spec.json", "trial.json"
"""What all trials share, in the folder above them; which sub-network a trial trains and what it costs."""


def epoch_directory(trial_directory: Path, epoch: int) -> Path:
    """Where a trial keeps the weights of an epoch."""
    return trial_directory / f"epoch-{epoch}"


def run_trial(directory: Path) -> None:
    """Trains the sub-network that `directory` names; each epoch better than all before leaves a sliced model there.

    Raises:
        CompressorError: the model, the data or the settings cannot be used, or the loss is no longer a number.
    """
    from syne_tune import Reporter

    from compressor.batches import encode
    from compressor.data import DataSource, load_task_data
    from compressor.extraction import save_sliced_model
    from compressor.families import get_dimensions, max_positions
    from compressor.models import load_base_model, pick_device
    from compressor.settings import TrainingSettings
    from compressor.slicing import slice_model
    from compressor.sub_network import SubNetwork
    from compressor.training import EpochReport, fine_tune

    parent, report = os.getppid(), Reporter()
    spec, trial = read_json(directory.parent / SPEC_FILE), read_json(directory / TRIAL_FILE)
    source, settings = DataSource.from_json(spec["source"]), TrainingSettings(**spec["settings"])
    data = load_task_data(source)
    base, tokenizer = load_base_model(
        task=data.task, label_names=data.label_names, seed=settings.seed, **spec["base_model"]
    )
    dimensions = get_dimensions(base)
    sub_network = SubNetwork.from_json(trial["kept"], dimensions)
    train, validation = (
        encode(rows, data.task, tokenizer, max_positions(base)) for rows in (data.train, data.validation)
    )
    model = slice_model(base, sub_network).to(pick_device())
    info = {"source": source.to_json(), "label_names": list(data.label_names)}
    best: list[EpochReport] = []

    def on_epoch(epoch: EpochReport) -> None:
        if os.getppid() != parent:
            raise CompressorError("the search that started this trial must be alive, but it is gone. Start it again.")
        if not best or epoch.error < best[0].error:
            best[:] = [epoch]
            chosen = {"name": directory.name, "error": epoch.error, "epochs": epoch.epoch, **trial["costs"]}
            with new_directory(epoch_directory(directory, epoch.epoch)) as temporary:
                save_sliced_model(temporary, model, tokenizer, sub_network, dimensions, info | {"chosen": chosen})
        values: dict[str, Any] = {"epoch": epoch.epoch, "epoch_error": epoch.error, "loss": epoch.loss}
        report(**values, error=best[0].error, best_epoch=best[0].epoch, **trial["costs"])

    fine_tune(model, data.task, train, validation, settings, on_epoch)


if __name__ == "__main__":
    try:
        run_trial(Path(sys.argv[1]))
    except CompressorError as problem:
        sys.exit(str(problem))
