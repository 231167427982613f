"""Files that stages hand to each other, broken."""

from fuzz.harness import Case, cut, drop_key, edit_json, write

NOT_JSON = "the file {folder}/FILE must hold JSON, but does not parse: …. Make it again."
"""What is said of an artifact that is no JSON."""

READ_BY = {
    "search/search_results.json": "extract --search search",
    "onnx/export.json": "benchmark --model onnx",
    "model/extraction.json": "report --search search --model model",
    "benchmark/latency.json": "report --search search --benchmark benchmark",
    "net/super_network.json": "search --supernet net",
}
"""Each artifact and a command that reads it."""

CASES = [
    Case(name=f"{file}: {what}", words=words, change=change, error=NOT_JSON.replace("FILE", file))
    for file, words in READ_BY.items()
    for what, change in (
        ("empty", write(file)),
        ("cut in the middle", cut(file, 100)),
        ("text", write(file, "not JSON at all\n")),
        ("an open bracket", write(file, '{"format": 1, ')),
    )
]

CHANGED = "the file {folder}/model/extraction.json must be as it was written, but …. Restore it, or extract again …"
CASES += [
    Case(
        name=f"an interval of the extraction: {what}",
        words="report --search search --model model",
        change=change,
        error=CHANGED,
    )
    for what, change in (
        ("no ends", edit_json("model/extraction.json", "test.interval", [])),
        ("one end", drop_key("model/extraction.json", "extracted.test_error_interval.1")),
        ("backwards", edit_json("model/extraction.json", "super_network.error_interval", [0.5, 0.2])),
        ("texts", edit_json("model/extraction.json", "super_network.error_interval", ["0.1", "0.2"])),
    )
]

CASES += [
    Case(
        name=f"an evaluation called {name}",
        words="extract --search search --all --output-dir out",
        change=edit_json("search/search_results.json", "evaluations.1.name", name),
        error="--search must be made by compressor search or nas, but the parts of … do not belong together. …",
    )
    for name in ("../outside", "/outside", "..", "")
]
