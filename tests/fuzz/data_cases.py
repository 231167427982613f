"""Data that is broken, doubled, shifted, or not what the model was trained on."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from conftest import sentence_rows
from fuzz.harness import Case, Change, write

TRAIN = "train-supernet --model-name-or-path base --train-file"
ROWS: list[dict[str, object]] = [{"text": f"w{i} w{i + 1}", "label": ("bad", "good")[i % 2]} for i in range(40)]


QUOTE = '"'


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(header: str, row: Callable[[int], str], separator: str = ",") -> str:
    """Forty rows under a header, written with commas."""
    return "\n".join([header, *map(row, range(40)), ""]).replace(",", separator)


def labelled(*labels: object) -> str:
    return lines([{"text": f"w{i} w{i + 1}", "label": labels[i % len(labels)]} for i in range(40)])


def file_case(name: str, file: str, content: str | bytes, error: str, options: str = "") -> Case:
    """A case of training on one file of that content."""
    return Case(name=f"data: {name}", words=f"{TRAIN} {file} {options}", change=write(file, content), error=error)


NOT_UTF8 = "{} must be a file of UTF-8 text, but its byte {} is {}. Save it as UTF-8."
NO_COLUMNS = "{0} must be a {1} file, but it cannot be read: No columns to parse from file. Correct the file."
NO_ROW = "a data file must hold at least one row, but {} holds none. Check the file."
MISSING = "column {} must exist in the train rows, but their columns are {}. Name it with {}."
NOT_JSON = "{0} must be a {1} file, but it cannot be read: {2}. Correct the file."
NO_OBJECT = "every row of {} must be a JSON object, but row {} is {}. Write the columns as its keys."
QUOTES = (
    "the quotes in rows.csv must enclose one field each, but some {}. Quote every text and double the quotes in it "
    '(""), or use JSONL.'
)
TWICE = "column '{}' must stand once in the train rows, but stands there more often. Rename or drop the others."
ONE_LABEL = "column 'label' must hold one label a row, but row {} of the train rows holds {}. Write a text or a number."
NO_NUMBER = "the labels of a regression must be numbers, but row 1 of the train rows holds {}. Check the file."
NOT_FINITE = "the labels of a regression must be finite, but row 1 of the train rows holds {}. Drop such rows."
NO_TEXT = (
    "column 'text' must hold text, but row {} of the train rows holds {}. "
    "Correct the file or name another --text-column."
)
EMPTY = "column '{}' must hold text, but all {} of the {} rows are empty there. …"
DOUBLED = (
    "training, validation and test rows must be different ones, but {}. Give other files, or drop the doubled rows."
)
SAME_FILE = (
    "--{0}-file must be another file than --{1}-file, but both are {{folder}}/{2}. "
    "Give another, or leave it out: rows are then held out of the training rows."
)
NOT_PARQUET = "rows.parquet must be a parquet file, but it cannot be read: …. Correct the file."
NAMES = "the labels of the data must be the model's, 0, 1, but are {}. Rename one or the other (id2label in its config…"
SUFFIX = "a data file must end in .csv, .tsv, .jsonl, .json or .parquet, but got {}. Convert or rename it."
NO_HEAD = (
    "the super-network must have a head for {}, as the task custom needs, but {{folder}}/net has 2 outputs. "
    "Name the data it was trained on."
)

FILES = [
    *(
        file_case(f"a {suffix} file, {what}", f"rows.{suffix}", content, error)
        for suffix in ("csv", "tsv")
        for what, content, error in (
            ("empty", b"", NO_COLUMNS.format(f"rows.{suffix}", suffix)),
            ("blank lines alone", b"\n\n \n", NO_COLUMNS.format(f"rows.{suffix}", suffix)),
            ("a byte-order mark alone", b"\xef\xbb\xbf", NO_COLUMNS.format(f"rows.{suffix}", suffix)),
            ("a header alone", b"text\n", NO_ROW.format(f"rows.{suffix}")),
        )
    ),
    *(
        file_case(f"a {suffix} file, {what}", f"rows.{suffix}", content, error)
        for suffix in ("jsonl", "json")
        for what, content, error in (
            ("empty", b"", NO_ROW.format(f"rows.{suffix}")),
            ("a byte-order mark alone", b"\xef\xbb\xbf", NO_ROW.format(f"rows.{suffix}")),
            ("empty objects", b"{}\n{}\n", NO_ROW.format(f"rows.{suffix}")),
            ("an empty list", b"[]", NO_ROW.format(f"rows.{suffix}")),
            ("numbers", b"1\n2\n", NO_OBJECT.format(f"rows.{suffix}", 1, "1")),
            ("nothing but null", b"null\n", NO_OBJECT.format(f"rows.{suffix}", 1, "None")),
            ("a list of lists", b"[[1, 2], [3, 4]]", NO_OBJECT.format(f"rows.{suffix}", 1, "[1, 2]")),
            ("no JSON", b"text,label\na,1\n", NOT_JSON.format(f"rows.{suffix}", suffix, "line 1: …")),
            ("a comma too many", b'[{"text": "a"},]', NOT_JSON.format(f"rows.{suffix}", suffix, "…")),
            ("nested too deeply", b"[" * 99_999, NOT_JSON.format(f"rows.{suffix}", suffix, "it is nested too deeply")),
            (
                "nested too deeply in a row",
                b'{"text": ' + b"[" * 99_999,
                NOT_JSON.format(f"rows.{suffix}", suffix, "it is nested too deeply"),
            ),
            (
                "a huge number",
                b'{"text": "a", "label": ' + b"9" * 5000 + b"}\n",
                NOT_JSON.format(f"rows.{suffix}", suffix, "line 1: Exceeds the limit (4300 digits)…"),
            ),
            (
                "a key that stands twice",
                b'{"text": "a", "text": "b", "label": 1}\n',
                NOT_JSON.format(f"rows.{suffix}", suffix, "line 1: the key 'text' stands twice in one object"),
            ),
        )
    ),
    *(
        file_case(f"a {suffix} file, {what}", f"rows.{suffix}", content, NOT_UTF8.format(f"rows.{suffix}", byte, value))
        for suffix in ("csv", "tsv", "jsonl", "json")
        for what, content, byte, value in (
            ("latin-1", "text\ncafé\n".encode("latin-1"), 9, "0xe9"),
            ("UTF-16", lines(ROWS).encode("utf-16"), 1, "0xff"),
            ("UTF-16 without a mark", lines(ROWS).encode("utf-16-le"), 2, "0x00"),
            ("UTF-32", lines(ROWS).encode("utf-32"), 1, "0xff"),
            ("a NUL", b"text\0,label\n", 5, "0x00"),
            ("a picture", b"\x89PNG\r\n\x1a\n\0\0", 1, "0x89"),
            ("a zip", b"PK\x03\x04\x14\x00\x06", 6, "0x00"),
        )
    ),
    *(
        file_case(f"parquet, {what}", "rows.parquet", content, NOT_PARQUET)
        for what, content in (
            ("empty", b""),
            ("text", lines(ROWS)),
            ("noise", random.Random(3).randbytes(999)),
            ("a pointer of Git LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
            ("a head without a foot", b"PAR1" + b"\0" * 99),
            ("a foot that lies", b"PAR1" + b"\0" * 40 + b"\xff\xff\xff\x7f" + b"PAR1"),
            ("a foot of noise", b"PAR1" + b"\x15\x04\xff" * 9 + b"\x1b\0\0\0" + b"PAR1"),
        )
    ),
    *(
        Case(name=f"data: a file that is {what}", words=f"{TRAIN} {file}", change=change, error=error)
        for what, file, change, error in (
            (
                "not there",
                "gone.csv",
                (),
                "the data file {folder}/gone.csv must exist, but it does not. Check the path.",
            ),
            (
                "a directory",
                "net.csv",
                lambda folder: (folder / "net.csv").mkdir(),
                "the data file {folder}/net.csv must be a regular file, but it is none. Name a file.",
            ),
            (
                "a link to itself",
                "loop.csv",
                lambda folder: (folder / "loop.csv").symlink_to(folder / "loop.csv"),
                "the data file {folder}/loop.csv must exist, but it does not. Check the path.",
            ),
            (
                "of too long a name",
                "x" * 300 + ".csv",
                (),
                "the data file … must exist, but it does not. Check the path.",
            ),
            (
                "of nobody's home",
                "'~nobody-of-that-name/rows.csv'",
                (),
                "the data file {folder}/~nobody-of-that-name/rows.csv must exist, but it does not. Check the path.",
            ),
            (
                "of another suffix",
                "rows.xlsx",
                write("rows.xlsx", "x"),
                SUFFIX.format("rows.xlsx"),
            ),
            (
                "packed",
                "rows.csv.gz",
                write("rows.csv.gz", b"\x1f\x8b"),
                SUFFIX.format("rows.csv.gz"),
            ),
        )
    ),
]

LINES = [
    file_case(
        "a row with more fields than the header",
        "rows.csv",
        table("text,label", "w{0} w2,{0}".format) + "a,b,c\n",
        NOT_JSON.format("rows.csv", "csv", "Error tokenizing data. C error: Expected 2 fields in line 42, saw 3"),
    ),
    file_case(
        "a comma in each text",
        "rows.csv",
        table("text,label", "w{0}, w2,{0}".format),
        NOT_JSON.format("rows.csv", "csv", "…"),
    ),
    file_case(
        "a row with fewer fields",
        "rows.csv",
        table("text,label", lambda i: f"w{i} w2,{i % 2}") + "alone\n",
        "column 'label' must hold a label in every row, but row 41 of the train rows has none (1 such rows). "
        "Drop or label them.",
    ),
    file_case(
        "semicolons",
        "rows.csv",
        table("text,label", "w{0},{0}".format, ";"),
        "column 'text' and 'label' must exist in the train rows, but their columns are 'text;label'. "
        "Name them with --text-column and --label-column.",
    ),
    file_case(
        "no header",
        "rows.csv",
        table("w7,1", "w{0},{0}".format),
        "column 'text' and 'label' must exist in the train rows, but their columns are 'w7', '1'. "
        "Name them with --text-column and --label-column.",
    ),
    file_case(
        "a web page",
        "rows.csv",
        "<!DOCTYPE html>\n<html><body>Not found</body></html>\n",
        "column 'text' and 'label' must exist in the train rows, but their columns are '<!DOCTYPE html>'. "
        "Name them with --text-column and --label-column.",
    ),
    file_case(
        "a hundred columns",
        "rows.csv",
        ",".join(f"c{i}" for i in range(100)) + "\n" + ",".join("x" * 100) + "\n",
        "column 'text' and 'label' must exist in the train rows, but their columns are 'c0', …'c19', …. "
        "Name them with --text-column and --label-column.",
    ),
    file_case(
        "a quote that does not close",
        "rows.csv",
        table("text,label", lambda i: QUOTE * (i == 9) + f"w{i} w2,{i % 2}"),
        QUOTES.format("do not close"),
    ),
    file_case(
        "two stray quotes",
        "rows.csv",
        table("text,label", lambda i: QUOTE * (i in (9, 20)) + f"w{i} w2,{i % 2}"),
        QUOTES.format("join whole lines"),
    ),
    file_case(
        "a stray quote that another one closes",
        "rows.csv",
        table("text,label", lambda i: QUOTE * (i == 9) + f"w{i} w2" + QUOTE * (i == 20) + f",{i % 2}"),
        QUOTES.format("join whole lines"),
    ),
    file_case(
        "a doubled text column",
        "rows.csv",
        table("text,text,label", lambda i: f"w{i},w2,{i % 2}"),
        TWICE.format("text"),
    ),
    file_case(
        "a doubled label column",
        "rows.tsv",
        table("text,label,label", lambda i: f"w{i},{i % 2},{1 - i % 2}", "\t"),
        TWICE.format("label"),
    ),
]

LABELS = [
    file_case(f"labels, {what}", "rows.jsonl", labelled(*labels), error, options)
    for what, labels, options, error in (
        ("lists", [[0], [1]], "", ONE_LABEL.format(1, "[0]")),
        ("objects", [{"id": 0}, {"id": 1}], "", ONE_LABEL.format(1, "{'id': 0}")),
        ("one object among names", ["a", {"id": 1}], "", ONE_LABEL.format(2, "{'id': 1}")),
        ("empty lists", [[]], "", ONE_LABEL.format(1, "[]")),
        ("lists of numbers", [[0.5], [1.5]], "--regression", ONE_LABEL.format(1, "[0.5]")),
        (
            "null",
            [0, None],
            "",
            "column 'label' must hold a label in every row, but row 2 of the train rows has none (20 such rows). "
            "Drop or label them.",
        ),
        (
            "blank",
            ["a", "  "],
            "",
            "column 'label' must hold a label in every row, but row 2 of the train rows has none (20 such rows). "
            "Drop or label them.",
        ),
        (
            "large integers beside a fraction",
            [2**53 + 1, 1.5],
            "",
            "column 'label' must hold labels that can be told apart, but row 1 of the train rows holds a float as "
            "large as 9007199254740992.0. Write such labels as texts.",
        ),
        (
            "one alone",
            ["yes"],
            "",
            "the training rows must show at least two labels, but all 22 are 'yes'. Check --label-column.",
        ),
        (
            "one alone, very long",
            ["yes\n" * 999],
            "",
            "the training rows must show at least two labels, but all 22 are 'yes yes yes …'. Check --label-column.",
        ),
        (
            "three with f1",
            ["a", "b", "c"],
            "--metric f1",
            "the metric f1 must have two labels, but the training rows have 3: a, b, c. "
            "Use --metric f1_macro or --metric accuracy.",
        ),
        (
            "a name of its own in each row",
            [f"name {i}" for i in range(40)],
            "",
            "column 'label' must hold labels, but 40 rows show 40 different values. "
            "Use another --label-column, or --regression for numbers.",
        ),
        (
            "one number in each row",
            [3],
            "--regression",
            "the labels of a regression must differ from row to row, but are all the same in the rows train and "
            "validation and test. Check --label-column, or give more rows.",
        ),
        ("words in a regression", ["high", "low"], "--regression", NO_NUMBER.format("'high'")),
        ("truths in a regression", [True, False], "--regression", NO_NUMBER.format("'True'")),
        ("commas in a regression", ["1,5", "2,5"], "--regression", NO_NUMBER.format("'1,5'")),
        ("underscores in a regression", ["1_0", "2_0"], "--regression", NO_NUMBER.format("'1_0'")),
        ("digits of another script in a regression", ["\u0661", "\u0662"], "--regression", NO_NUMBER.format("'…'")),
        ("infinity in a regression", [float("inf"), 1], "--regression", NOT_FINITE.format("inf")),
        ("more than a float32 in a regression", [1e39, 1], "--regression", NOT_FINITE.format("1e+39")),
        ("more than any float in a regression", [10**400, 1], "--regression", NOT_FINITE.format("1000…")),
    )
]

TEXTS = [
    *(
        file_case(f"texts, {what}", "rows.jsonl", lines([{"text": text, "label": i % 2} for i in range(40)]), error)
        for what, text, error in (
            ("numbers", 5, NO_TEXT.format(1, "5")),
            ("null", None, NO_TEXT.format(1, "None")),
            ("truths", True, NO_TEXT.format(1, "True")),
            ("lists", ["a", "b"], NO_TEXT.format(1, "['a', 'b']")),
            ("objects", {"en": "a"}, NO_TEXT.format(1, "{'en': 'a'}")),
            ("empty", "", EMPTY.format("text", 40, "train")),
            ("blank", " \t\u00a0", EMPTY.format("text", 40, "train")),
            (
                "all alike",
                "w1 w2",
                DOUBLED.format(
                    "all 10 validation rows are train rows too; all 8 test rows are train rows too; "
                    "all 8 test rows are validation rows too"
                ),
            ),
        )
    ),
    file_case("a row without text", "rows.jsonl", lines(ROWS) + '{"label": "bad"}\n', NO_TEXT.format(41, "nan")),
    file_case(
        "an empty second text",
        "rows.jsonl",
        lines([{**row, "more": ""} for row in ROWS]),
        EMPTY.format("more", 40, "train"),
        "--text-column text,more",
    ),
    *(
        Case(name=f"data: {options}", words=f"{TRAIN} train.jsonl {options}", error=error)
        for options, error in (
            (
                "--text-column label",
                "texts and label must be different columns, but 'label' is given for two. "
                "Correct --text-column or --label-column.",
            ),
            (
                "--text-column text,text",
                "texts and label must be different columns, but 'text' is given for two. "
                "Correct --text-column or --label-column.",
            ),
            (
                "--label-column text",
                "texts and label must be different columns, but 'text' is given for two. "
                "Correct --text-column or --label-column.",
            ),
            ("--text-column body", MISSING.format("'body'", "'text', 'label'", "--text-column")),
            ("--label-column stars", MISSING.format("'stars'", "'text', 'label'", "--label-column")),
            (
                "--text-column a,b,c",
                "a task must have one or two text columns, but got 3. Name them with --text-column, once or twice.",
            ),
            (
                "--max-train-samples 1",
                "the training rows must show at least two labels, but all 1 are '…'. Check --label-column.",
            ),
        )
    ),
]


def write_parts(**parts: tuple[int, int]) -> Change:
    """Writes rows from a number on, so many, as train.jsonl, validation.jsonl and test.jsonl."""

    def change(folder: Path) -> None:
        for name, (start, count) in parts.items():
            rows = [{"text": f"w{i} w{i + 1}", "label": i % 2} for i in range(start, start + count)]
            write(f"{name}.jsonl", lines(rows))(folder)

    return change


def parts_case(name: str, error: str, **parts: tuple[int, int]) -> Case:
    files = " ".join(f"--{part}-file {part}.jsonl" for part in parts if part != "train")
    return Case(name=f"data: {name}", words=f"{TRAIN} train.jsonl {files}", change=write_parts(**parts), error=error)


PARTS = [
    parts_case(
        "validation is a copy of the training rows",
        DOUBLED.format("all 32 train rows are validation rows too; all 8 test rows are validation rows too"),
        train=(0, 40),
        validation=(0, 40),
    ),
    parts_case(
        "test is a copy of the validation rows",
        DOUBLED.format("all 9 test rows are validation rows too"),
        train=(0, 30),
        validation=(30, 9),
        test=(30, 9),
    ),
    parts_case(
        "validation rows are some of the training rows",
        DOUBLED.format("all 9 validation rows are train rows too"),
        train=(0, 30),
        validation=(3, 9),
        test=(40, 9),
    ),
    parts_case(
        "training rows are some of the validation rows",
        DOUBLED.format("all 9 train rows are validation rows too"),
        train=(3, 9),
        validation=(0, 30),
        test=(40, 9),
    ),
    parts_case(
        "four rows in all",
        "the … rows must be held out of at least 5 training rows, but there are 2. Give more rows or --…-file.",
        train=(0, 2),
    ),
    *(
        Case(
            name=f"data: one file for {one} and {two}",
            words=f"{TRAIN} train.jsonl "
            + " ".join(
                f"--{part}-file {'train.jsonl' if part == one and two == 'train' else file}"
                for part, file in (("validation", "other.jsonl"), ("test", "other.jsonl"))
                if part in (one, two)
            ),
            change=write("other.jsonl", lines(ROWS)),
            error=SAME_FILE.format(one, two, "train.jsonl" if two == "train" else "other.jsonl"),
        )
        for one, two in (("validation", "train"), ("test", "train"), ("test", "validation"))
    ),
    Case(
        name="data: a second link to the training file",
        words=f"{TRAIN} train.jsonl --test-file link.jsonl",
        change=lambda folder: (folder / "link.jsonl").hardlink_to(folder / "train.jsonl"),
        error=SAME_FILE.format("test", "train", "link.jsonl"),
    ),
    *(
        Case(
            name=f"data: --{part}-file alone",
            words=f"train-supernet --model-name-or-path base --{part}-file train.jsonl",
            error=f"--train-file must be given with --{part}-file, but it is not. Add it.",
        )
        for part in ("validation", "test")
    ),
    *(
        Case(
            name=f"data: {part} rows without {what}",
            words=f"{TRAIN} train.jsonl --{part}-file other.jsonl",
            change=write("other.jsonl", lines(rows)),
            error=error.replace("PART", part),
        )
        for part in ("validation", "test")
        for what, rows, error in (
            (
                "a label column",
                [{"text": "w1"}],
                MISSING.format("'label'", "'text'", "--label-column").replace("train", "PART"),
            ),
            (
                "known labels",
                [{"text": "w1", "label": 7}],
                "the labels of the PART rows must be among 0, 1, but got 7 too. "
                "Correct the file or give training rows with every label.",
            ),
            (
                "labels, as benchmarks hide them",
                [{"text": "w1", "label": -1}, {"text": "w2", "label": -1}],
                "the labels of the PART rows must be among 0, 1, but got -1 too. "
                "Correct the file or give training rows with every label.",
            ),
            ("texts", [{"text": "", "label": 0}], EMPTY.format("text", 1, "PART")),
        )
    ),
]


def other_rows(names: tuple[object, object]) -> list[dict[str, object]]:
    """Rows that the super-network of the folder has not seen; 0 and 1 under other names."""
    return [row | {"label": names[int(str(row["label"]))]} for row in sentence_rows(60, seed=77)]


def change_rows(change: Callable[[dict[str, object]], dict[str, object]]) -> Change:
    """Writes the training rows, changed, as other.jsonl."""

    def write_changed(folder: Path) -> None:
        rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
        write("other.jsonl", lines([change(row) for row in rows]))(folder)

    return write_changed


SEEN = (
    "a super-network must be searched and tested on rows it was not trained on, but was trained on {}. "
    "Leave --dataset-seed and the files as they were in training, or give others."
)
SEARCHES = [
    *(
        Case(
            name=f"data: a search of labels {' and '.join(map(str, names))}",
            words="search --supernet net --train-file other.jsonl",
            change=write("other.jsonl", lines(other_rows(names))),
            error=NAMES.format(", ".join(sorted(map(str, names)))),
        )
        for names in (("bad", "good"), ("no", "yes"), (1, 2), ("LABEL_0", "LABEL_1"), (True, False), ("zero", "one"))
    ),
    *(
        Case(
            name=f"data: a search with {options}",
            words=f"search --supernet net {options}",
            change=write("other.jsonl", lines(other_rows((0, 1)))),
            error=SEEN.format(what),
        )
        for options, what in (
            ("--dataset-seed 1", "… of the … validation rows and … of the … test rows"),
            ("--dataset-seed 4294967295", "… of the … validation rows and … of the … test rows"),
            ("--test-file other.jsonl", "… of the … validation rows"),
            ("--train-file other.jsonl --test-file train.jsonl", "… of the … test rows"),
            ("--train-file other.jsonl --validation-file train.jsonl", "… of the … validation rows"),
        )
    ),
    Case(
        name="data: a search of flipped labels",
        words="search --supernet net --train-file other.jsonl",
        change=change_rows(lambda row: row | {"label": 1 - int(str(row["label"]))}),
        error="rows that the super-network was trained on must have the labels they had, but 100% of … have another "
        "one. Correct the labels, or train again.",
    ),
    Case(
        name="data: flipped labels in the training's own file",
        words="search --supernet net",
        change=(
            change_rows(lambda row: row | {"label": 1 - int(str(row["label"]))}),
            lambda folder: (folder / "other.jsonl").replace(folder / "train.jsonl"),
        ),
        error="the rows must be those the super-network was trained on (digest …), but the digest is …. "
        "Restore the files or train again.",
    ),
    Case(
        name="data: translated labels in the training's own file",
        words="search --supernet net",
        change=(
            change_rows(lambda row: row | {"label": ("nein", "oui")[int(str(row["label"]))]}),
            lambda folder: (folder / "other.jsonl").replace(folder / "train.jsonl"),
        ),
        error=NAMES.format("nein, oui"),
    ),
    *(
        Case(
            name=f"data: {command} after labels were {what}",
            words=command,
            change=(change_rows(change), lambda folder: (folder / "other.jsonl").replace(folder / "train.jsonl")),
            error=error,
        )
        for command in ("extract --search search", "export --model model", "export --model net")
        for what, change, error in (
            ("translated", lambda row: row | {"label": ("nein", "oui")[int(row["label"])]}, NAMES.format("nein, oui")),
        )
    ),
    Case(
        name="data: a search of numbers with a model of classes",
        words="search --supernet net --train-file other.jsonl --regression",
        change=write("other.jsonl", lines([{"text": f"w{i} w2", "label": i / 7} for i in range(40)])),
        error=NO_HEAD.format("1 output"),
    ),
    Case(
        name="data: a search of three labels with a model of two",
        words="search --supernet net --train-file other.jsonl",
        change=write("other.jsonl", labelled("a", "b", "c")),
        error=NO_HEAD.format("3 outputs"),
    ),
]


def parquet(name: str, rows: dict[str, list[object]], error: str) -> Case:
    def change(folder: Path) -> None:
        pd.DataFrame(rows).to_parquet(folder / "rows.parquet")

    return Case(name=f"data: parquet, {name}", words=f"{TRAIN} rows.parquet", change=change, error=error)


TEXT_COLUMN: list[object] = [f"w{i} w{i + 1}" for i in range(40)]
PARQUET = [
    parquet("no rows", {"text": [], "label": []}, NO_ROW.format("rows.parquet")),
    parquet(
        "bytes as labels",
        {"text": TEXT_COLUMN, "label": [b"0", b"1"] * 20},
        ONE_LABEL.format(1, "b'0'"),
    ),
    parquet(
        "lists as labels",
        {"text": TEXT_COLUMN, "label": [[0], [1]] * 20},
        ONE_LABEL.format(1, "array([0])"),
    ),
    parquet("bytes as texts", {"text": [b"w1"] * 40, "label": [0, 1] * 20}, NO_TEXT.format(1, "b'w1'")),
    parquet("numbers as texts", {"text": list(range(40)), "label": [0, 1] * 20}, NO_TEXT.format(1, "0")),
    parquet(
        "a label that is missing",
        {"text": TEXT_COLUMN, "label": [None, *([0, 1] * 20)[1:]]},
        "column 'label' must hold a label in every row, but row 1 of the train rows has none (1 such rows). "
        "Drop or label them.",
    ),
]

QUERY_ROWS: list[dict[str, object]] = [
    {"query": f"w{i // 4}", "document": f"w{i} w{i + 1}", "label": int(i % 4 == 0)} for i in range(40)
]
CANNOT_BE_RANKED = (
    "the train rows must hold queries with relevant documents and others, but of their {} queries ({} rows) none can "
    "be ranked by ndcg_at_10. Check --group-column and --label-column."
)


def ranking(name: str, error: str, options: str = "", **changed: object) -> Case:
    """A case of training a reranker on rows with some columns changed."""
    rows = [{**row, **changed} for row in QUERY_ROWS]
    return file_case(f"rankings, {name}", "rows.jsonl", lines(rows), error, f"--task-name rerank {options}")


RANKINGS = [
    ranking("nothing relevant", CANNOT_BE_RANKED.format(6, 24), label=0),
    ranking("the document as group", CANNOT_BE_RANKED.format(22, 22), "--group-column document"),
    ranking(
        "one query",
        "the test queries must be held out of at least 5 training queries, but there are 1. "
        "Give more rows or --test-file.",
        query="w1",
    ),
    ranking(
        "a column that is not there",
        MISSING.format("'id'", "'query', 'document', 'label'", "--group-column"),
        "--group-column id",
    ),
    ranking(
        "lists as groups",
        "column 'id' must say of which query a row is, but row 1 of the train rows holds [1, 2]. "
        "Write a text or a number.",
        "--group-column id",
        id=[1, 2],
    ),
    ranking(
        "labels in words",
        "the labels of a reranker must be numbers, but row 1 of the train rows holds 'good'. Check the file.",
        label="good",
    ),
    ranking(
        "texts by another option",
        "a rerank task must have its texts named by --query-column and "
        "--document-column, but got --text-column. Use these.",
        "--text-column query,document",
    ),
]

WORD_ROWS: list[dict[str, object]] = [
    {"tokens": [f"w{i}", f"w{i + 1}"], "ner_tags": ["B-A", "O"] if i % 2 else ["O", "O"]} for i in range(40)
]


def words(name: str, error: str, options: str = "", **changed: object) -> Case:
    """A case of training on labelled words with some columns of the first row changed."""
    rows = [{**WORD_ROWS[0], **changed}, *WORD_ROWS[1:]]
    return file_case(f"words, {name}", "rows.jsonl", lines(rows), error, f"--task-name ner {options}")


def conll(name: str, content: str, error: str) -> Case:
    return file_case(f"CoNLL, {name}", "rows.conll", content, error, "--task-name ner")


LISTS_OF_LABELS = (
    "column 'ner_tags' must hold a list of labels in every row, but row 1 of the train rows holds {}. "
    "Correct the file or name another --label-column."
)
LISTS_OF_WORDS = (
    "column 'tokens' must hold a list of words in every row, but row 1 of the train rows holds {}. "
    "Correct the file or name another --text-column."
)
WORDS = [
    words("a text", LISTS_OF_WORDS.format("'w1 w2'"), tokens="w1 w2"),
    words("no words", LISTS_OF_WORDS.format("[]"), tokens=[], ner_tags=[]),
    words("numbers", LISTS_OF_WORDS.format("[1, 2]"), tokens=[1, 2]),
    words("null as labels", LISTS_OF_LABELS.format("None"), ner_tags=None),
    words("a label as text", LISTS_OF_LABELS.format("'O O'"), ner_tags="O O"),
    words("fractions as labels", LISTS_OF_LABELS.format("[0.5, 1]"), ner_tags=[0.5, 1]),
    words(
        "a label too few",
        "a row must have a label for each word, but row 1 of the train rows has 2 words and 1 labels. "
        "Correct the file.",
        ner_tags=["O"],
    ),
    file_case(
        "words, numbers that nobody names",
        "rows.jsonl",
        lines([{**row, "ner_tags": [0, 1]} for row in WORD_ROWS]),
        "labels of words must be named, but column 'ner_tags' holds numbers: 0, 1. Write names, or give them with "
        "--label-names-file.",
        "--task-name ner",
    ),
    file_case(
        "words, one label alone",
        "rows.jsonl",
        lines([{**row, "ner_tags": ["O", "O"]} for row in WORD_ROWS]),
        "the words of the training rows must show at least two labels, but all are 'O'. Check --label-column.",
        "--task-name ner",
    ),
    conll("empty", "", NO_ROW.format("rows.conll")),
    conll("empty lines alone", "\n\n", NO_ROW.format("rows.conll")),
    conll(
        "a word without label",
        "w1 O\nw2\n",
        "each line of rows.conll must hold a word and its label, but line 2 has 1 fields, and the first has 2. "
        "Correct the file.",
    ),
]


def several(name: str, error: str, options: str = "", **changed: object) -> Case:
    """A case of training on several labels a row, with some columns of all rows changed."""
    rows = [{"text": f"w{i} w{i + 1}", "labels": ["a", "b"][: i % 3], **changed} for i in range(40)]
    return file_case(f"several labels, {name}", "rows.jsonl", lines(rows), error, f"--task-name multi-label {options}")


SEVERAL = [
    several(
        "numbers",
        "column 'labels' must hold a list of labels in every row, but row 1 of the train rows holds 3. Write a list, a "
        "text with commas, or name a column per label.",
        labels=3,
    ),
    several(
        "lists in lists",
        "column 'labels' must hold a list of labels in every row, but row 1 of the train rows holds [['a']]. Write a "
        "list, a text with commas, or name a column per label.",
        labels=[["a"]],
    ),
    several(
        "all alike",
        "the training rows must show different labels, but all 22 have the same ones. Check --label-column.",
        labels=["a"],
    ),
    several(
        "none at all",
        "column 'labels' must hold lists of labels, but 40 rows show 0 different ones. Use another --label-column.",
        labels=[],
    ),
    several(
        "a column that says maybe",
        "column 'a' must say 0 or 1 in every row, but row 1 of the train rows holds 'maybe'. "
        "Correct the file or --label-column.",
        "--label-column a,b",
        a="maybe",
        b=1,
    ),
    several("a column that is not there", MISSING.format("'b'", "…", "--label-column"), "--label-column a,b", a=1),
]


def unlabelled(name: str, file: str, content: str, error: str, options: str = "") -> Case:
    """A case of compressing a fine-tuned model with texts alone."""
    given = f"train-supernet --model-name-or-path net --unlabeled-file {file} {options}"
    return Case(name=f"texts without labels: {name}", words=given, change=write(file, content), error=error)


PLAIN_TEXTS = "".join(f"w{i} w{i + 1}\n" for i in range(40))
UNLABELLED = [
    unlabelled("empty", "texts.txt", "", NO_ROW.format("texts.txt")),
    unlabelled("empty lines", "texts.txt", "\n \n", NO_ROW.format("texts.txt")),
    unlabelled("another suffix", "texts.md", PLAIN_TEXTS, SUFFIX.format("texts.md")),
    unlabelled(
        "another column",
        "texts.jsonl",
        lines([{"body": f"w{i}"} for i in range(40)]),
        MISSING.format("'text'", "'body'", "--text-column").replace("train rows", "unlabeled rows"),
    ),
    unlabelled(
        "one text",
        "texts.txt",
        "w1\n",
        "the test rows must be held out of at least 5 training rows, but there are 1. Give more rows or --test-file.",
    ),
    unlabelled(
        "another head",
        "texts.txt",
        PLAIN_TEXTS,
        "the full model must have a head for the task ner (token_classification), but net has 2 outputs. "
        "Name its task with --task-name.",
        "--task-name ner",
    ),
    unlabelled(
        "pairs in plain lines",
        "texts.txt",
        PLAIN_TEXTS,
        "a file of plain lines must be texts of one column without labels, but texts.txt is to hold more. "
        "Write a table, or give it as --unlabeled-file with one --text-column.",
        "--text-column a,b",
    ),
]

CASES = [*WORDS, *SEVERAL, *UNLABELLED, *RANKINGS, *FILES, *LINES, *LABELS, *TEXTS, *PARTS, *SEARCHES, *PARQUET]
