"""A front as a table, for terminal, page and description alike; alone, or with what became of the chosen member."""

from compressor.data.heads.answers import name_error
from compressor.extraction.record import ExtractionReport, Variant, with_interval
from compressor.search.objectives import OBJECTIVES, other_cost_names
from compressor.search.record import EvaluatedSubNetwork, SearchResult
from exporters.report.summary import Summary, SummaryRow

_PARAMS = OBJECTIVES["params"].column
_CHOSEN = " ← chosen"
_SPARE_COLUMNS = ("units", "heads", "layers", _PARAMS, "95 % interval", "test error")


def spare_columns(result: SearchResult) -> list[str]:
    """Return columns of a front that narrow terminals can omit, the first one first: costs that were no objectives."""
    costs = [OBJECTIVES[name].column for name in other_cost_names() if name not in result.objectives]
    return [name_error(name, result.against_full_model) for name in (*costs, *_SPARE_COLUMNS)]


def describe_useless(result: SearchResult) -> str | None:
    """Return where the front falls to the trivial predictor, in a sentence; None where it does not."""
    places = result.useless
    if not places:
        return None
    if len(places) == len(result.front):
        return f"no member of the front is better than {result.trivial} by more than its interval."
    which = f"index {places[0]}" if len(places) == 1 else f"the indices {', '.join(map(str, places))}"
    return f"the front falls to {result.trivial} at {which}: not better by more than the interval."


def front_table(result: SearchResult) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a front, the super-network first, the trivial predictor last; costs if measured."""
    front, full, trivial = result.front, result.full, result.trivial
    costs = {name: OBJECTIVES[name] for name in result.shown_costs}
    header = [
        "sub-network",
        "index",
        "error",
        "95 % interval",
        "test error",
        _PARAMS,
        "of encoder",
        "layers",
        "heads",
        "units",
        *(cost.column for cost in costs.values()),
    ]
    named = [(e.name, str(index), e) for index, e in enumerate(front)]
    if full is not None:
        named.insert(0, ("super-network", "", full))
    rows = [
        [
            name,
            index,
            f"{e.error:.4f}",
            "" if e.error_interval is None else "{:.3f}–{:.3f}".format(*e.error_interval),
            "" if e.test_error is None else f"{e.test_error:.4f}",
            f"{e.params / 1e6:.2f}",
            f"{e.relative_encoder_params:.1%}",
            f"{e.sub_network.num_layers}",
            f"{e.sub_network.num_heads}",
            f"{e.sub_network.num_units}",
            *(cost.show(e.costs.get(name)) for name, cost in costs.items()),
        ]
        for name, index, e in named
    ]
    if trivial is not None:
        columns = {"sub-network": "name", "error": "error", "test error": "test_error"}
        rows.append(trivial.cells([columns.get(name, "") for name in header]))
    return [name_error(name, result.against_full_model) for name in header], rows


def chosen_table(
    result: SearchResult, summary: Summary, extraction: ExtractionReport, most: int
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: the super-network, up to `most` members of a front as searched, the chosen one as it is.

    Members have the index that `extract` takes, and the chosen one is marked. Sizes and latencies are of those that
    were exported. The trivial predictor comes last.
    """
    # The whole may be on the front: it has an index then, and is not shown twice.
    members = [(str(index), member) for index, member in enumerate(result.front)]
    whole = next((index for index, member in members if member.is_full), "")
    assert extraction.super_network is not None  # `compress` has trained it
    chosen, is_whole = extraction.name, extraction.extracted.relative_encoder_params == 1
    named: list[tuple[str, str, EvaluatedSubNetwork | Variant, SummaryRow | None]]
    named = [(f"dense{_CHOSEN if is_whole else ''}", whole, extraction.super_network, summary.dense)]
    named += [
        (member.name + (_CHOSEN if member.name == chosen else ""), index, member, None)
        for index, member in members
        if index != whole
    ][:most]
    named.append((f"{chosen}, extracted", "", extraction.extracted, summary.pruned))
    costs = {name: OBJECTIVES[name] for name in result.shown_costs}
    rows = [
        [
            name,
            index,
            f"{e.error:.4f}" if e.error_interval is None else with_interval(e.error, e.error_interval),
            f"{e.params / 1e6:.2f}",
            f"{e.relative_encoder_params:.1%}",
            *(cost.show(e.costs.get(name)) for name, cost in costs.items()),
            "" if served is None else f"{served.file_mb:.1f}",
            "" if served is None else f"{served.first_p50_ms:.2f}",
        ]
        for name, index, e, served in named
    ]
    if result.trivial is not None:
        rows.append(result.trivial.cells(["name", "", "error", *[""] * (4 + len(costs))]))
    error = name_error("error (95 %)", result.against_full_model)
    header = ["", "index", error, _PARAMS, "of encoder", *(cost.column for cost in costs.values()), "MB", "p50 ms"]
    return header, rows
