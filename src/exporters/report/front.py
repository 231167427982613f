"""A front as a table, for terminal, page and description alike."""

from compressor.search.record import SearchResult

MEASURED = {"MACs (M)": ("macs", 1e-6), "latency ms": ("latency_ms", 1.0)}
"""Columns of a front that are there only where they were measured: which cost, and by what it is multiplied."""
SPARE_COLUMNS = ("MACs (M)", "latency ms", "units", "heads", "layers", "params (M)", "95 % interval", "test error")
"""Columns of a front that a narrow terminal can do without, the first one first, unless they were searched for."""


def describe_useless(result: SearchResult) -> str | None:
    """Where the front falls to the trivial predictor, in a sentence; None where it does not."""
    places = result.useless
    if not places:
        return None
    if len(places) == len(result.front):
        return f"no member of the front is better than {result.trivial} by more than its interval."
    which = f"index {places[0]}" if len(places) == 1 else f"the indices {', '.join(map(str, places))}"
    return f"the front falls to {result.trivial} at {which}: not better by more than the interval."


def front_table(result: SearchResult) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a front, the super-network first, the trivial predictor last; MACs and latency if measured."""
    front, full, trivial = result.front, result.full, result.trivial
    more = {label: of for label, of in MEASURED.items() if all(getattr(e, of[0]) is not None for e in front)}
    header = [
        "sub-network",
        "index",
        "error",
        "95 % interval",
        "test error",
        "params (M)",
        "of encoder",
        "layers",
        "heads",
        "units",
        *more,
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
            *(f"{getattr(e, name) * factor:,.1f}" for name, factor in more.values()),
        ]
        for name, index, e in named
    ]
    if trivial is not None:
        columns = {"sub-network": "name", "error": "error", "test error": "test_error"}
        rows.append(trivial.cells([columns.get(name, "") for name in header]))
    return header, rows
