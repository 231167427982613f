"""The stage `replay`: two served models on the same requests, in turn, logged with a page."""

from pathlib import Path

from compressor.drawing.terminal import print_table
from compressor.markdown import markdown_table, markdown_text
from exporters.options import ReplayOptions
from exporters.served import replay as replaying
from exporters.served.replay_page import REPLAY_PAGE, write_replay_page
from mlproject.inputs.served import find_pair
from mlproject.tracking.logged_models import hash_files, use_models
from mlproject.tracking.tracker import StageRun


def replay(
    output_dir: Path, champion: str, challenger: str, file: Path, options: ReplayOptions, run: StageRun
) -> replaying.Replay:
    """Send the requests of a file to both models; log and show what came of it.

    Raises:
        TaskDataError: the file holds something else than requests of such models.
        ModelError: the models answer different questions, or one does not answer a request.
    """
    run.log_params({"champion": champion, "challenger": challenger, "requests": str(file), "rate": options.rate})
    first, second = find_pair(champion, challenger)
    requests = replaying.read_requests(file, first.kind)
    print(f"Sending {len(requests):,} requests to each model: about {2 * len(requests) / options.rate:.0f} s.")
    found = replaying.replay(first, second, file, requests, options.rate)
    found.save(output_dir)
    write_replay_page(output_dir / REPLAY_PAGE, found)
    run.set_tags({"task": first.task.name})
    run.log_metrics(found.metrics())
    hashes = [hash_files(model.files) for model in (first, second) if model.files]
    use_models(run, hashes, [model.model_id for model in (first, second) if model.model_id])
    for name in (replaying.REPLAY_FILE, replaying.DISAGREEMENTS_FILE, REPLAY_PAGE):
        run.log_artifact(output_dir / name)
    header, rows = found.table()
    verdict = " ".join(found.verdict())
    run.describe(f"{markdown_text(verdict)}\n\n{markdown_table(header, rows)}\n\n**{REPLAY_PAGE}** under *Artifacts*.")
    print_table(f"Latency at {options.rate:g} requests a second", header, rows, spare=["service p50 ms", "p95 ms"])
    for sentence in found.verdict():
        print(sentence)
    return found
