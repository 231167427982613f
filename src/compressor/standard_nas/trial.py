"""One trial of standard NAS, a process of its own: `python -m compressor.standard_nas.trial DIRECTORY`.

Cuts the sub-network out of the pre-trained model first, so that a small one trains fast, fine-tunes it alone, and
reports to Syne Tune after each epoch. Weights are saved before they are reported, so that what was reported exists. A
trial that is started again reports its known epochs at once and trains only if more are wanted.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from compressor.errors import CompressorError, spelled_as_flags
from compressor.files import append_json_line, new_directory, read_json, read_json_lines, write_text

SPEC_FILE, TRIAL_FILE = "spec.json", "trial.json"
"""What all trials share, in the folder above them; which sub-network a trial trains and what it costs."""
REPORTS_FILE = "reports.jsonl"
"""What a trial has reported, an epoch a line."""


def epoch_directory(trial_directory: Path, epoch: int) -> Path:
    """Where a trial keeps the weights of an epoch."""
    return trial_directory / f"epoch-{epoch}"


def run_trial(directory: Path) -> None:
    """Trains the sub-network that `directory` names; each epoch better than all before leaves a sliced model there.

    Raises:
        CompressorError: the model, the data or the settings cannot be used, or the loss is no longer a number.
    """
    from syne_tune import Reporter

    started, report = time.perf_counter(), Reporter()
    known = known_reports(directory)
    for values in known:
        report(**values)
    spec, trial = read_json(directory.parent / SPEC_FILE), read_json(directory / TRIAL_FILE)
    if len(known) >= spec["settings"]["num_train_epochs"]:
        return

    from compressor.data.batches import encode
    from compressor.data.sources import DataSource, load_task_data
    from compressor.network.families import get_dimensions, max_positions
    from compressor.network.loading import load_base_model, pick_device
    from compressor.network.saving import save_sliced_model
    from compressor.network.slicing import slice_model
    from compressor.network.sub_network import SubNetwork
    from compressor.training.loop import fine_tune
    from compressor.training.settings import TrainingSettings
    from compressor.training.state import EpochReport

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
    info = {"source": source.to_json(), "data_digest": data.digest, "label_names": list(data.label_names)}
    best: list[EpochReport] = []

    def on_epoch(epoch: EpochReport) -> None:
        if not best or epoch.error < best[0].error:
            best[:] = [epoch]
            chosen = {"name": directory.name, "error": epoch.error, "epochs": epoch.epoch, **trial["costs"]}
            with new_directory(epoch_directory(directory, epoch.epoch)) as temporary:
                save_sliced_model(temporary, model, tokenizer, sub_network, dimensions, info | {"chosen": chosen})
        if epoch.epoch <= len(known):
            return
        values: dict[str, Any] = {"epoch": epoch.epoch, "epoch_error": epoch.error, "loss": epoch.loss}
        values |= {"error": best[0].error, "best_epoch": best[0].epoch, **trial["costs"]}
        values["seconds"] = time.perf_counter() - started
        append_json_line(directory / REPORTS_FILE, values)
        report(**values)

    fine_tune(model, data.task, train, validation, settings, on_epoch)


def known_reports(directory: Path) -> list[dict[str, Any]]:
    """What a trial has reported of the epochs from the first on; what comes after a damaged line is dropped."""
    lines = read_json_lines(directory / REPORTS_FILE)
    keys = {"epoch", "epoch_error", "loss", "error", "best_epoch"}
    known = []
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict) or not keys <= line.keys() or line["epoch"] != number:
            break
        known.append(line)
    if len(known) < len(lines):
        write_text(directory / REPORTS_FILE, "".join(json.dumps(values) + "\n" for values in known))
    return known


def main() -> None:
    """Runs the trial whose directory the command line names."""
    with spelled_as_flags():  # the command line shows what a trial said last
        try:
            run_trial(Path(sys.argv[1]))
        except CompressorError as problem:
            sys.exit(str(problem))


if __name__ == "__main__":
    main()
