"""Where extracted members come from: those of standard NAS keep their own weights."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from compressor.data.rows import Rows, TaskData
from compressor.data.tasks import TASKS
from compressor.errors import SearchError, TaskDataError
from compressor.extraction.extract import Extractor, to_chosen
from compressor.extraction.origins import Judge, SharedWeights, TrainedAlone, open_origin
from compressor.extraction.record import SlicedModelRecord
from compressor.network.costs import create_cost_model
from compressor.network.families import max_positions
from compressor.network.saving import save_sliced_model
from compressor.network.slicing import slice_model
from compressor.network.sub_network import SubNetwork, full_sub_network
from compressor.search.objectives import DEFAULT_OBJECTIVES
from compressor.search.record import EvaluatedSubNetwork, SearchOrigin, SearchResult, summarise
from compressor.training.super_network import SuperNetwork
from conftest import DIMENSIONS, HIDDEN, tiny_model
from test_golden import copy_golden

KEPT = SubNetwork(heads=((0, 2), (), (1,)), units=((0, 1, 2, 3), (5,), ()))


@pytest.fixture
def trials(net: SuperNetwork, data: TaskData, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> SearchResult:
    """A result of standard NAS: the full super-network, and one that keeps little, each with weights of its own."""
    evaluations = []
    for index, sub_network in enumerate((full_sub_network(DIMENSIONS), KEPT)):
        model, folder = slice_model(net.model, sub_network), tmp_path / f"trials/{index}"
        folder.mkdir(parents=True)
        more = {"label_names": list(data.label_names)}
        save_sliced_model(folder, model, tokenizer, sub_network, DIMENSIONS, more)
        judge = Judge(data, tokenizer, max_positions(net.model), 64)
        error = judge.error(judge.evaluate(model, judge.rows.validation), judge.rows.validation)
        costs = create_cost_model(net.model).costs(sub_network)
        evaluations.append(
            EvaluatedSubNetwork(
                index=index,
                name=f"trial-{index}",
                config=None,
                sub_network=sub_network,
                error=error,
                eval_seconds=1.0,
                epochs=2,
                model=f"trials/{index}",
                **asdict(costs),
            )
        )
    origin = SearchOrigin(
        source=data.source,
        data_digest=data.digest,
        options={"search_space": "small", "search_strategy": "random_search", "seed": 0},
        dimensions=DIMENSIONS,
        seconds=1.0,
        model_name_or_path="my-encoder",
    )
    costs = {"params": float(evaluations[0].params)}
    result = summarise(evaluations, [0.0, 0.0], DEFAULT_OBJECTIVES, costs)
    return replace(result, origin=origin, folder=tmp_path)


def test_a_sub_network_of_standard_nas_keeps_its_own_weights(trials: SearchResult, data: TaskData) -> None:
    member = to_chosen(trials.evaluations[1])
    extractor = Extractor(TrainedAlone(trials, member), data)
    assert not extractor.will_distill
    small = extractor.extract(member)
    report = small.report
    assert report.trained_alone
    assert (report.repair, report.finetuning, report.parity.sliced) == (None, None, None)
    assert report.error == trials.evaluations[1].error
    assert report.super_network is not None
    assert report.super_network.error == trials.evaluations[0].error
    assert (small.base_model, small.super_network) == ("my-encoder", None)
    record = SlicedModelRecord.load(small.save("model"))
    assert (record.supernet, record.supernet_files) == (None, None)


def test_without_the_super_network_costs_are_the_search_s(trials: SearchResult, data: TaskData) -> None:
    first = replace(trials.evaluations[0], model=None)
    unfinished = replace(trials, evaluations=(first, trials.evaluations[1]))
    member = to_chosen(trials.evaluations[1])
    report = Extractor(TrainedAlone(unfinished, member), data).extract(member).report
    assert (report.super_network, report.test, report.extracted.costs) == (None, None, {})
    assert report.extracted.params == trials.evaluations[1].params
    with pytest.raises(SearchError) as raised:
        Extractor(TrainedAlone(unfinished, to_chosen(first)), data)
    assert str(raised.value) == (
        "a sub-network of standard NAS must have trained weights, but trial-0 has none: it is not on the front. Choose "
        "a member of the front."
    )


def test_weights_of_another_sub_network_are_refused(trials: SearchResult, data: TaskData) -> None:
    swapped = replace(trials.evaluations[1], model="trials/0")
    extractor = Extractor(TrainedAlone(trials, to_chosen(swapped)), data)
    with pytest.raises(SearchError, match=rf"^the trained weights must be of sub-network {KEPT.hash}, but those in"):
        extractor.extract(swapped)


def test_vectors_are_computed_however_many_rows_there_are(data: TaskData, tokenizer: PreTrainedTokenizerFast) -> None:
    """Nothing is judged meanwhile: without a frozen model's vectors only pairs of rows could be."""
    five = Rows(texts=data.validation.texts[:5], labels=data.validation.labels[:5])
    judge = Judge(replace(data, task=TASKS["embed"], validation=five), tokenizer, 64, 64)
    assert judge.rows.validation.reference is None
    assert judge.evaluate(tiny_model(task_head="embedding"), judge.rows.validation).shape == (5, HIDDEN)


def test_a_saved_search_is_opened_with_the_rows_and_files_that_it_searched(tmp_path: Path) -> None:
    folder = copy_golden("0.2.0", tmp_path)
    result = SearchResult.load(folder / "search")
    assert result.super_network == folder / "net"
    member = result.choose(index=0)
    weights, data = open_origin(result, member, lambda found: found.super_network)
    assert isinstance(weights, SharedWeights) and weights.directory == folder / "net"
    assert data.digest == result.made_of.data_digest
    nas = SearchResult.load(folder / "nas")
    assert isinstance(open_origin(nas, nas.choose(index=0), lambda found: found.super_network)[0], TrainedAlone)

    with pytest.raises(SearchError, match=f"must be where it was, but {tmp_path}/gone is gone"):
        open_origin(result, member, lambda _: tmp_path / "gone")
    lines = (folder / "train.jsonl").read_text().splitlines(keepends=True)
    (folder / "train.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(TaskDataError):
        open_origin(result, member, lambda found: found.super_network)
