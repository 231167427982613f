"""Reading tables: every format alike, and nothing lost without a word."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from compressor.data.tables import read_names, read_sentences, read_table
from compressor.errors import TaskDataError


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_all_formats_read_alike(suffix: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"text": ["NA", "null, nan", "3"], "label": ["yes", "no", "yes"]})
    file = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        table.to_parquet(file)
    elif suffix == ".jsonl":
        table.to_json(file, orient="records", lines=True)
    else:
        table.to_csv(file, index=False, sep="," if suffix == ".csv" else "\t")
    pd.testing.assert_frame_equal(read_table(file).astype(object), table.astype(object))


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(TaskDataError, match=r"the data file .*none.csv must exist, but it does not"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(TaskDataError, match=r"must end in .csv, .tsv, .jsonl, .json or .parquet, but got rows.xlsx"):
        read_table(tmp_path / "rows.xlsx")
    for name, content in (("empty.csv", ""), ("words.jsonl", "not json\n"), ("picture.csv", b"\xff\xd8\xff\xe0\x00")):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(TaskDataError, match=f"{name} must be a"):
            read_table(file)
    (tmp_path / "header.csv").write_text("text,label\n")
    with pytest.raises(TaskDataError, match="must hold at least one row, but header.csv holds none"):
        read_table(tmp_path / "header.csv")


def test_a_comma_in_an_unquoted_text_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\ngood, very good,1\nbad, very bad,0\n")
    with pytest.raises(TaskDataError, match=r"rows.csv must be a csv file, but it cannot be read"):
        read_table(file)


def test_a_json_list_reads_like_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([{"text": "a", "label": 1}]))
    assert read_table(tmp_path / "rows.json").to_dict("records") == [{"text": "a", "label": 1}]


TEXT_ROWS = [{"text": f"row {i}", "label": "yes" if i % 2 else "no"} for i in range(4)]
LINES = "".join(json.dumps(row) + "\n" for row in TEXT_ROWS)
TABLE = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in TEXT_ROWS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.csv", TABLE),
        ("rows.tsv", TABLE.replace(",", "\t")),
        ("rows.jsonl", LINES),
        ("rows.json", json.dumps(TEXT_ROWS)),
        ("lines.json", LINES),
        ("list.jsonl", json.dumps(TEXT_ROWS, indent=1)),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_the_text(name: str, text: str, mark: bytes, tmp_path: Path) -> None:
    for ends in ("\n", "\r\n"):
        (tmp_path / name).write_bytes(mark + text.replace("\n", ends).encode())
        assert read_table(tmp_path / name).to_dict("records") == TEXT_ROWS


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_keys_that_are_numbers_name_columns(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows{suffix}"
    file.write_text('[{"0": "a", "1": 5}]' if suffix == ".json" else '{"0": "a", "1": 5}\n')
    assert read_table(file).to_dict("records") == [{"0": "a", "1": 5}]


def test_line_separators_and_cut_emojis_in_json(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        '{"text": "a\u2028b\x85c"}\n{"text": "\\ud83d\\ude00 \\ud83d!"}\n{"text": "\\ude00"}\n'
    )
    assert read_table(tmp_path / "rows.jsonl")["text"].tolist() == ["a\u2028b\x85c", "\U0001f600 !", ""]


STRAY = 'so "it" goes\t0\n"It opens\t1\nplain\t0\nit closes"\t1\n"Again\t0\n'


def test_a_tsv_file_with_stray_quotes_loses_no_line(tmp_path: Path) -> None:
    """As GLUE writes them: a quote is a letter, and two of them far apart once swallowed the rows between."""
    (tmp_path / "rows.tsv").write_text("text\tlabel\n" + STRAY)
    rows = read_table(tmp_path / "rows.tsv")
    assert rows["text"].tolist() == ['so "it" goes', '"It opens', "plain", 'it closes"', '"Again']
    assert rows["label"].tolist() == ["0", "1", "0", "1", "0"]


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_really_quoted_fields_may_hold_anything(suffix: str, separator: str, tmp_path: Path) -> None:
    texts = [
        "one\ntwo\n\nthree",
        f"a{separator}b",
        'say ""yes""',
        "plain",
        f"x{separator}1\ny{separator}2\nz{separator}3",
    ]
    file = tmp_path / f"rows{suffix}"
    file.write_text(f"text{separator}label\n" + "".join(f'"{text}"{separator}1\n' for text in texts))
    assert read_table(file)["text"].tolist() == [text.replace('""', '"') for text in texts]


@pytest.mark.parametrize("stray", [STRAY, STRAY.replace('"Again', "Again"), 'a\t1\n"never\t0\nclosed\t1\n'])
def test_stray_quotes_in_a_csv_file_are_refused(stray: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n" + stray.replace("\t", ","))
    with pytest.raises(
        TaskDataError, match=r"the quotes in rows.csv must enclose one field each, but some (do not|join)"
    ):
        read_table(tmp_path / "rows.csv")


def test_a_stray_quote_before_quoted_fields_is_refused(tmp_path: Path) -> None:
    """Line by line it cannot be read either: a field holds a separator."""
    rows = ['"So what,1', "plain,0", "another,1", '"hello",0', '"well, yes",1']
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(TaskDataError, match="must enclose one field each, but some join whole lines"):
        read_table(tmp_path / "rows.csv")


def test_an_index_of_pandas_is_a_column(tmp_path: Path) -> None:
    rows = pd.DataFrame({"text": ["a", "b"], "label": [0, 1]})
    rows.set_index("text").to_parquet(tmp_path / "rows.parquet")
    assert read_table(tmp_path / "rows.parquet")[["text", "label"]].values.tolist() == [["a", 0], ["b", 1]]
    pd.DataFrame({0: ["a"], 1: [0]}).to_parquet(tmp_path / "numbered.parquet")
    assert list(read_table(tmp_path / "numbered.parquet").columns) == ["0", "1"]  # as an option names them


def test_doubled_columns_stay_doubled(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    (tmp_path / "rows.csv").write_text("text,text,,\na,b,c,d\n")
    assert list(read_table(tmp_path / "rows.csv").columns) == ["text", "text", "Unnamed: 2", "Unnamed: 3"]
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert list(read_table(tmp_path / "rows.parquet").columns) == ["text", "text"]
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "text": "b"}\n')
    with pytest.raises(TaskDataError, match="line 1: the key 'text' stands twice in one object"):
        read_table(tmp_path / "rows.jsonl")


UNREADABLE: dict[str, tuple[str, bytes, str]] = {
    "latin-1": (
        "a.csv",
        "text\ncafé\n".encode("latin-1"),
        "a.csv must be a file of UTF-8 text, but its byte 9 is 0xe9. Save it as UTF-8.",
    ),
    "latin-1 behind a mark": (
        "a.csv",
        b"\xef\xbb\xbfab\xe9",
        "a.csv must be a file of UTF-8 text, but its byte 6 is 0xe9. Save it as UTF-8.",
    ),
    "utf-16": (
        "a.jsonl",
        LINES.encode("utf-16"),
        "a.jsonl must be a file of UTF-8 text, but its byte 1 is 0xff. Save it as UTF-8.",
    ),
    "a NUL": (
        "a.tsv",
        b"text\tlabel\na\0\t1\n",
        "a.tsv must be a file of UTF-8 text, but its byte 13 is 0x00. Save it as UTF-8.",
    ),
    "no object": (
        "a.jsonl",
        b'{"text": "a"}\n[1]\n',
        "every row of a.jsonl must be a JSON object, but row 2 is [1]. Write the columns as its keys.",
    ),
    "a value": (
        "a.json",
        b"3",
        "every row of a.json must be a JSON object, but row 1 is 3. Write the columns as its keys.",
    ),
    "half an object": (
        "a.jsonl",
        b'{"text": "a"}\n{"te',
        "a.jsonl must be a jsonl file, but it cannot be read: line 2: Unterminated string starting at",
    ),
    "deep": (
        "a.json",
        b"[" * 100_000,
        "a.json must be a json file, but it cannot be read: it is nested too deeply. Correct the file.",
    ),
    "a huge number": (
        "a.jsonl",
        b'{"label": ' + b"9" * 5000 + b"}",
        "a.jsonl must be a jsonl file, but it cannot be read: line 1: Exceeds the limit",
    ),
    "empty parquet": (
        "a.parquet",
        b"",
        "a.parquet must be a parquet file, but it cannot be read: Parquet file size is 0 bytes. Correct the file.",
    ),
    "no parquet": (
        "a.parquet",
        b"version https://git-lfs",
        "a.parquet must be a parquet file, but it cannot be read: Parquet magic bytes not found",
    ),
    "no row": ("a.jsonl", b"\n\n", "a data file must hold at least one row, but a.jsonl holds none. Check the file."),
}


@pytest.mark.parametrize("name", list(UNREADABLE))
def test_unreadable_files_are_told_in_a_sentence(name: str, tmp_path: Path) -> None:
    file, content, message = UNREADABLE[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(TaskDataError) as raised:
        read_table(tmp_path / file)
    assert str(raised.value).startswith(message)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("folder.csv", "pipe.csv"):
        with pytest.raises(TaskDataError, match=f"{name} must be a regular file, but it is none"):
            read_table(tmp_path / name)
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    for name in ("loop.csv", "x" * 300 + ".csv", "a\0b.csv"):
        with pytest.raises(TaskDataError, match="must exist, but it does not"):
            read_table(tmp_path / name)


@pytest.mark.parametrize("separator", ["\t", " "])
def test_sentences_of_conll_files(separator: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.conll"
    lines = ["-DOCSTART- -X- -X- O", "", "# id 7", "Ann|NNP|B-PER", "#|SYM|O", "", "", "sang|VBD|O", "  "]
    file.write_text("\r\n".join(line.replace("|", separator) for line in lines))
    table = read_sentences(file, "words", "tags")
    assert table.to_dict("list") == {"words": [["Ann", "#"], ["sang"]], "tags": [["B-PER", "O"], ["O"]]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ann B-PER\nsang\n", "but line 2 has 1 fields, and the first has 2"),
        ("Ann\nsang\n", "but line 1 has 1 fields, and the first has 1"),
        ("\n\n", "must hold at least one row"),
    ],
)
def test_what_is_no_conll_file(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.conll"
    file.write_text(text)
    with pytest.raises(TaskDataError, match=message):
        read_sentences(file, "words", "tags")
    with pytest.raises(TaskDataError, match="must exist, but it does not"):
        read_sentences(tmp_path / "none.conll", "words", "tags")


@pytest.mark.parametrize("text", ["O\nB-PER\n\nI-PER", '["O", "B-PER", "I-PER"]'])
def test_names_of_labels(text: str, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text(text)
    assert read_names(file) == ("O", "B-PER", "I-PER")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", "0 of which 0 differ"),
        ("O\nO", "2 of which 1 differ"),
        ("[]", "0 of which 0 differ"),
        ('["a", 1, "b"]', "a JSON list of other things too"),  # b is not label 1
        ('["a", null, "b"]', "a JSON list of other things too"),
        ('["a", " ", "b"]', "a JSON list of other things too"),
        ('{\n"0": "a",\n"1": "b"\n}', "a JSON object"),  # the id2label of a configuration
    ],
)
def test_names_stand_once_and_each_at_its_number(text: str, holds: str, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text(text)
    with pytest.raises(TaskDataError) as raised:
        read_names(file)
    assert str(raised.value) == (
        f"names.txt must hold the names of the labels, each once, but holds {holds}. "
        "Write a line, or an entry of a JSON list, for each."
    )


def test_halves_of_letters_are_dropped_from_lists_too(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"tokens": ["a\\ud83d", "b"], "ner_tags": ["O", "O"]}\n')
    assert read_table(file)["tokens"].tolist() == [["a", "b"]]


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "a", "label": 1}, {"text": "b"}, {"label": 2.5, "text": "c"}],
        [{"text": "a"}, {"text": "b", "label": None}, {"label": "x", "text": None}],
        [{"tokens": ["a", "b"], "tags": [1, 2]}, {"tokens": [], "tags": []}, {"tokens": ["c"], "tags": [3]}],
        [{"text": "a", "label": True}, {"text": "b", "label": 3}, {"text": "c", "label": "3"}],
    ],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_json_in_blocks_is_read_as_in_one(
    name: str, rows: list[dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / name
    file.write_text(json.dumps(rows) if name.endswith("json") else "\n".join(map(json.dumps, rows)))

    def read() -> pd.DataFrame:
        table = read_table(file).astype(object)
        return table.where(table.notna(), None)  # what is missing is None or NaN: all ask isna alone

    whole = read()
    for at_once in (1, 2, 3):
        monkeypatch.setattr("compressor.data.tables._AT_ONCE", at_once)
        pd.testing.assert_frame_equal(read(), whole)


def test_letters_may_lie_across_the_blocks_that_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.data.tables._BLOCK", 2)
    file = tmp_path / "rows.csv"
    file.write_bytes(b"\xef\xbb\xbf" + "text,label\né😀é,1\n".encode())
    assert read_table(file).to_dict("records") == [{"text": "é😀é", "label": "1"}]
    file.write_bytes("text,label\né😀".encode()[:-1] + b",1\n")
    with pytest.raises(TaskDataError, match=r"must be a file of UTF-8 text, but its byte 14 is 0xf0\. "):
        read_table(file)
