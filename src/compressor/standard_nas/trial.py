"""One trial of standard NAS, a process of its own: `python -m compressor.standard_nas.trial DIRECTORY`.

Cuts the sub-network out of the pre-trained model first, so that a small one trains fast, fine-tunes it alone, and
reports to Syne Tune after each epoch. Weights are saved before they are reported, so that what was reported exists. A
trial that is started again reports its known epochs at once and trains only if more are wanted.
"""

import sys
import time
from pathlib import Path

from compressor.errors import CompressorError, spelled_as_flags
from compressor.files import new_directory
from compressor.standard_nas.record import TrialReport, TrialSpec, TrialTask, known_reports


def epoch_directory(trial_directory: Path, epoch: int) -> Path:
    """Return where a trial keeps the weights of an epoch."""
    return trial_directory / f"epoch-{epoch}"


def run_trial(directory: Path) -> None:
    """Train the sub-network that `directory` names; each epoch better than all before leaves a sliced model there.

    Raises:
        CompressorError: the model, the data or the settings cannot be used, or the loss is no longer a number.
    """
    from syne_tune import Reporter

    started, report = time.perf_counter(), Reporter()
    spec, trial = TrialSpec.load(directory.parent), TrialTask.load(directory)
    known = known_reports(directory)
    # A resumed trial begins by repeating its reports, which the tuner counts like new ones.
    for values in known:
        report(**values.to_json() | trial.costs)
    source, settings = spec.source, spec.settings
    if len(known) >= settings.epochs:
        return

    # Only now: PyTorch takes seconds, and a trial that knows all its epochs has nothing to compute.
    from compressor.device import pick_device
    from compressor.network.families import get_dimensions
    from compressor.network.saving import save_sliced_model
    from compressor.network.slicing import slice_model
    from compressor.standard_nas.inputs import open_inputs
    from compressor.training.loop import fine_tune
    from compressor.training.state import EpochReport

    inputs = open_inputs(spec, directory.parent)
    dimensions = get_dimensions(inputs.base)
    sub_network = trial.kept.read().check(dimensions)
    # Cut before training, so that a small sub-network trains as fast as it is small.
    model = slice_model(inputs.base, sub_network).to(pick_device())
    label_names = list(inputs.label_names)
    info = {"source": source.to_json(), "data_digest": inputs.data_digest, "label_names": label_names}
    # A list of one or none, so that `on_epoch` can replace what is in it.
    best: list[EpochReport] = []

    def on_epoch(epoch: EpochReport) -> None:
        if not best or epoch.error < best[0].error:
            best[:] = [epoch]
            chosen = {"name": directory.name, "error": epoch.error, "epochs": epoch.epoch, **trial.costs}
            # Saved before it is reported: whoever reads of an epoch finds its weights.
            with new_directory(epoch_directory(directory, epoch.epoch)) as temporary:
                save_sliced_model(
                    temporary, model, inputs.tokenizer, sub_network, dimensions, info | {"chosen": chosen}
                )
        # A resumed trial trains from its beginning; what was reported then is not reported twice.
        if epoch.epoch <= len(known):
            return
        new = TrialReport(
            epoch=epoch.epoch,
            epoch_error=epoch.error,
            loss=epoch.loss,
            error=best[0].error,
            best_epoch=best[0].epoch,
            costs=trial.costs,
            seconds=time.perf_counter() - started,
        )
        new.append(directory)
        report(**new.to_json())

    fine_tune(model, inputs.task, inputs.train, inputs.validation, settings, on_epoch)


def main() -> None:
    """Run the trial whose directory the command line names."""
    with spelled_as_flags():  # the command line shows what a trial said last
        try:
            run_trial(Path(sys.argv[1]))
        except CompressorError as problem:
            sys.exit(str(problem))


if __name__ == "__main__":
    main()
