"""What `extract --config` is given: a config of the search space, or the sets of a sub-network."""

import json
import os

from fuzz.harness import Case, remove, write

NOT_JSON = "the file {folder}/c.json must hold JSON, but does not parse: …. Make it again."
NO_OBJECT = "--config must hold a JSON object, but c.json holds KIND. Write a config or a sub_network.json."
OF_SPACE = "in the search space small_ordered LAW. Correct the config."
RANGES = 'index ranges must look like "0-3,7", but got …. Correct the file.'
TEXTS = 'index sets must be a list of texts like "0-3,7", but got …. Correct the file.'
SIZES = "a sub-network must be made for an encoder of the sizes …, but got …. Use the super-network it was made for."
ORDER = (
    "heads of layer 0 must be different, ascending and not negative, but got …. Sort them and drop the repeated ones."
)
OTHER = "heads of layer 0 must lie in 0..3, but got …. This sub-network was made for another encoder …"


def layers(value: str) -> str:
    """A config with that number of layers, and what is said of it."""
    return f'{{"num_layers": {value}, "num_heads": 2, "num_units": 3}}'


def sets(heads: object, **more: object) -> str:
    """A sub-network with those heads."""
    return json.dumps({"heads": heads, "units": ["0-3", "0", ""], **more})


FILES: dict[str, tuple[str, str]] = {
    "empty": ("", NOT_JSON),
    "half": ('{"num_layers": 2, ', NOT_JSON),
    "deep": ("[" * 100_000, NOT_JSON),
    "null": ("null", NO_OBJECT.replace("KIND", "NoneType")),
    "list": ("[]", NO_OBJECT.replace("KIND", "list")),
    "text": ('"x"', NO_OBJECT.replace("KIND", "str")),
    "number": ("3", NO_OBJECT.replace("KIND", "int")),
    "null for a sub-network": ('{"sub_network": null}', NO_OBJECT.replace("KIND", "NoneType")),
    "nothing": ("{}", OF_SPACE.replace("LAW", "num_layers must be in 0..3, but got None; …")),
    "of another space": ('{"head_0_0": 1}', OF_SPACE.replace("LAW", "… keys must be …, but got head_0_0 too")),
    "one key too few": (
        '{"num_layers": 2, "num_heads": 2}',
        OF_SPACE.replace("LAW", "num_units must be in 1..24, but got None"),
    ),
    "one key too many": (
        '{"num_layers": 2, "num_heads": 2, "num_units": 3, "more": 1}',
        OF_SPACE.replace("LAW", "keys must be num_layers, num_heads, num_units, but got more too"),
    ),
    **{
        f"{value} layers": (
            layers(value),
            OF_SPACE.replace("LAW", f"num_layers must be in 0..3, but got {shown}"),
        )
        for value, shown in {
            "99": "99",
            "-1": "-1",
            "2.5": "2.5",
            "2.0": "2.0",
            "1" + "0" * 30: "1" + "0" * 30,
            '"2"': "'2'",
            "null": "None",
            "[2]": "[2]",
            "true": "True",
        }.items()
    },
    "1e400 layers": (layers("1e400"), "the file … must hold JSON, but does not parse: 1e400 is no number of JSON. …"),
    "heads alone": (
        '{"heads": ["0", "0", "0"]}',
        'a sub-network file must be a JSON object with "heads" and "units", …',
    ),
    "one layer": (
        sets(["0"]),
        "a sub-network must name heads and units for the same layers, but got 1 layers of heads …",
    ),
    "heads as numbers": (sets([1, 2, 3]), TEXTS),
    "heads as null": (sets(None), TEXTS),
    "heads as a text": (sets("0-3"), TEXTS),
    "an open range": (sets(["0-", "0", "0"]), RANGES),
    "a range backwards": (sets(["3-0", "0", "0"]), RANGES),
    "a range without an end": (sets(["0-99999999999999", "0", "0"]), RANGES),
    "a negative head": (sets(["-1", "0", "0"]), RANGES),
    "a space": (sets([" 0", "0", "0"]), RANGES),
    "a superscript": (sets(["²", "0", "0"]), RANGES),
    "heads too many": (sets(["0-9", "0", "0"]), OTHER),
    "100,000 heads": (sets(["0-99999", "0", "0"]), OTHER),
    "a head twice": (sets(["0,0", "0", "0"]), ORDER),
    "heads out of order": (sets(["1,0", "0", "0"]), ORDER),
    "another hash": (sets(["0", "0", "0"], hash="x"), "a sub-network file must have the hash of its content, …"),
    "no sizes": (sets(["0", "0", "0"], dimensions={}), SIZES),
    "null sizes": (sets(["0", "0", "0"], dimensions=None), SIZES),
}
"""Files by what is wrong with them, with the sentence."""

NO_FILES = {"/dev/zero": None, "pipe": lambda folder: os.mkfifo(folder / "pipe"), "net": None}
"""What has a name but is no file that could be read to its end."""

CASES = [
    *(
        Case(
            name=f"config: {name}",
            words=f"extract --search search --config {name} --output-dir out",
            change=change or (),
            error=f"the file …{name} must be an ordinary file, but is a directory or device. Check the path.",
        )
        for name, change in NO_FILES.items()
    ),
    Case(
        name="a directory in place of a result file",
        words="extract --search search --output-dir out",
        change=(remove("search/search_results.json"), lambda folder: (folder / "search/search_results.json").mkdir()),
        error="the file {folder}/search/search_results.json must be an ordinary file, but is a directory or device. …",
    ),
]
CASES += [
    Case(
        name=f"config: {what}",
        words="extract --search search --config c.json --finetune-epochs 0 --output-dir out",
        change=write("c.json", content),
        error=error,
    )
    for what, (content, error) in FILES.items()
]
