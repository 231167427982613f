"""Tables in files: CSV, TSV, JSONL, JSON or Parquet, by suffix. No row or column is lost without a word.

Quotes in a table of lines mean what RFC 4180 says. GLUE's TSV files have stray quotes that mean nothing: taken for
quoting they join the lines between two of them. So where quotes join lines that are whole without them, a TSV file is
read line by line and a CSV file is refused.

A file is kept as its bytes, and its lines become Python texts one after the other: there may be millions.
"""

import codecs
import csv
import io
import json
import re
import reprlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import TaskDataError, shorten

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
PLAIN = ".txt"
"""The suffix of files whose lines are texts."""
_AT_ONCE = 50_000
"""Lines of JSON that are Python objects at the same time."""
_BLOCK = 1 << 20
"""Bytes that are checked at the same time."""


def read_table(path: Path, lines_as: str | None = None) -> "pd.DataFrame":
    """Return rows of a CSV, TSV, JSONL, JSON or Parquet file; CSV values stay text, doubled column names stay doubled.

    `lines_as` names the one column of a .txt file, whose lines are texts; without it there are no such files.

    Raises:
        TaskDataError: the file is missing, empty, of another suffix or not what its suffix says.
    """
    import pyarrow

    # Suffixes are checked before the file is opened, so that a wrong one is named as such and not as a parser's error.
    suffix = path.suffix.lower()
    if suffix == PLAIN and lines_as is None:
        raise TaskDataError(
            f"a file of plain lines must be texts of one column without labels, but {path.name} is to hold more. "
            "Write a table, or give it as --unlabeled-file with one --text-column."
        )
    if suffix not in (*_SUFFIXES, PLAIN):
        raise TaskDataError(
            f"a data file must end in .csv, .tsv, .jsonl, .json or .parquet, but got {path.name}. Convert or rename it."
        )
    _require_file(path)
    try:
        if suffix == ".parquet":
            table = _read_parquet(path)
        elif suffix in (".csv", ".tsv"):
            table = _read_lines(path.name, _read_content(path), "," if suffix == ".csv" else "\t")
        elif suffix == PLAIN:
            table = _read_plain(_read_content(path), str(lines_as))
        else:
            table = _read_json(path.name, _read_content(path))
    # Parsers of three libraries raise a dozen kinds; all mean that the content is not what the suffix says.
    except RecursionError:
        raise TaskDataError(_unreadable(path, "it is nested too deeply")) from None
    except (ValueError, OSError, Warning, pyarrow.ArrowException) as error:
        raise TaskDataError(_unreadable(path, shorten(error).rstrip("."))) from None
    return _require_rows(table, path)


def read_sentences(path: Path, words: str, labels: str) -> "pd.DataFrame":
    """Return the sentences of a CoNLL file as a table of two columns of lists, called `words` and `labels`.

    A line is a word, whose first field is the word and whose last one is its label; an empty line ends a sentence.

    Raises:
        TaskDataError: the file is missing or empty, or a line has not as many fields as the first one.
    """
    import pandas as pd

    _require_file(path)
    try:
        content = _read_content(path)
    except OSError as error:
        raise TaskDataError(_unreadable(path, shorten(error).rstrip("."))) from None
    # Words may hold spaces where tabs separate; else any white space does.
    separator = "\t" if b"\t" in content else None
    sentences: list[tuple[list[str], list[str]]] = [([], [])]
    once: dict[str, str] = {}
    count = 0
    for number, line in enumerate(_lines(content), start=1):
        fields = [field.strip() for field in line.split(separator)]
        if not line.strip():
            sentences.append(([], []))
            continue
        # Lines between documents (CoNLL 2003), and comments (CoNLL-U); a word may be a # too.
        if fields[0].startswith("-DOCSTART-") or (line.startswith("#") and len(fields) != count):
            continue
        count = count or len(fields)
        if len(fields) != count or count < 2:
            raise TaskDataError(
                f"each line of {path.name} must hold a word and its label, but line {number} has {len(fields)} fields, "
                f"and the first has {count}. Correct the file."
            )
        for column, field in zip(sentences[-1], (fields[0], fields[-1]), strict=True):
            column.append(once.setdefault(field, field))  # one object for all places where a word stands
    table = pd.DataFrame([sentence for sentence in sentences if sentence[0]], columns=[words, labels])
    return _require_rows(table, path)


SENTENCE_SUFFIXES = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".txt")
"""The suffixes of files with a word a line."""


def read_names(path: Path) -> tuple[str, ...]:
    """Return the names of the labels 0, 1, …: a line each, or a JSON list.

    Raises:
        TaskDataError: the file is missing, or holds something else than names that differ.
    """
    _require_file(path)
    text = _read_content(path).decode()
    # An object is none of both, and no text of several lines: refused below.
    is_json = text.lstrip().startswith(("[", "{"))
    try:
        written = json.loads(text) if is_json else text.split("\n")
    except ValueError as error:
        raise TaskDataError(_unreadable(path, shorten(error).rstrip("."))) from None
    names = [name.strip() for name in written if isinstance(name, str)] if isinstance(written, list) else []
    # Empty lines, such as the last one, name no label. An entry of a list has a number, whatever it is: passed over,
    # it would give its number to the next one.
    found = names if is_json else list(filter(None, names))
    if isinstance(written, dict) or (is_json and (len(found) < len(written) or "" in found)):
        holds = "a JSON object" if isinstance(written, dict) else "a JSON list of other things too"
    elif not found or len(set(found)) < len(found):
        holds = f"{len(found)} of which {len(set(found))} differ"
    else:
        return tuple(found)
    raise TaskDataError(
        f"{path.name} must hold the names of the labels, each once, but holds {holds}. "
        "Write a line, or an entry of a JSON list, for each."
    )


def _require_file(path: Path) -> None:
    try:
        there, regular = path.exists(), path.is_file()
    except OSError:  # a name that is too long
        there = regular = False
    if not there:
        raise TaskDataError(f"the data file {path} must exist, but it does not. Check the path.")
    if not regular:
        raise TaskDataError(f"the data file {path} must be a regular file, but it is none. Name a file.")


def _require_rows(table: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    if table.empty:
        raise TaskDataError(f"a data file must hold at least one row, but {path.name} holds none. Check the file.")
    return table


def _unreadable(path: Path, reason: str) -> str:
    return f"{path.name} must be a {path.suffix[1:]} file, but it cannot be read: {reason}. Correct the file."


def _read_content(path: Path) -> bytes:
    """Return the bytes of a file of UTF-8 text without its byte-order mark.

    Raises:
        TaskDataError: it is not UTF-8, or binary.
    """
    content = path.read_bytes()
    # A NUL is valid UTF-8, but tells that the file is binary.
    place = content.find(b"\0")
    # Decoded in blocks that are thrown away: the whole text as Python's would take up to four times the file's size.
    try:
        decoder = codecs.getincrementaldecoder("utf-8")()
        for start in range(0, len(content), _BLOCK):
            decoder.decode(content[start : start + _BLOCK], final=start + _BLOCK >= len(content))
    # Blocks tell that something is wrong, the whole content at which byte.
    except UnicodeDecodeError:
        try:
            content.decode()
        except UnicodeDecodeError as error:
            place = error.start
    if place >= 0:
        raise TaskDataError(
            f"{path.name} must be a file of UTF-8 text, but its byte {place + 1} is 0x{content[place]:02x}. "
            "Save it as UTF-8."
        )
    return content.removeprefix(codecs.BOM_UTF8)


def _lines(content: bytes) -> Iterator[str]:
    """Yield the lines of a text, whatever they end with, without their ends."""
    for line in io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline=None):
        yield line.removesuffix("\n")


def _read_parquet(path: Path) -> "pd.DataFrame":
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        # As the file has it: by what pandas notes in it, a column would become an index, and "0" the number 0.
        table: pd.DataFrame = file.read().to_pandas(ignore_metadata=True)
        return table


def _read_json(name: str, content: bytes) -> "pd.DataFrame":
    """Return the rows of a JSON list, or of one JSON object a line."""
    import pandas as pd

    # Only escapes can make a half of a surrogate pair; looking at every text would take as long as parsing.
    has_halves = re.search(rb"\\u[dD]", content, re.IGNORECASE) is not None
    # A list must be parsed as a whole; lines are read one by one, so that a broken one is told by its number.
    if content[:_BLOCK].decode(errors="ignore").lstrip().startswith("["):
        rows = iter(json.loads(content, object_pairs_hook=_to_row))
    else:
        rows = _parse_lines(content)
    tables, block = list[pd.DataFrame](), list[dict[str, Any]]()
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise TaskDataError(
                f"every row of {name} must be a JSON object, but row {number} is {reprlib.repr(row)}. "
                "Write the columns as its keys."
            )
        block.append({key: _without_halves(value) for key, value in row.items()} if has_halves else row)
        # A block becomes a table, whose columns take less room than dictionaries; blocks are put together once, at the
        # end.
        if len(block) == _AT_ONCE:
            tables.append(pd.DataFrame(block))
            block = []
    last = pd.DataFrame(block)
    return pd.concat([*tables, last] if block else tables, ignore_index=True) if tables else last


def _parse_lines(content: bytes) -> Iterator[Any]:
    """Yield the values of a text of JSON lines.

    Raises:
        ValueError: a line is no JSON.
    """
    for number, line in enumerate(io.BytesIO(content), start=1):
        text = line.decode().removesuffix("\n")
        try:
            if text.strip():
                yield json.loads(text, object_pairs_hook=_to_row)
        except ValueError as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise ValueError(f"line {number}: {reason}") from None


def _read_plain(content: bytes, column: str) -> "pd.DataFrame":
    """Return a row for each line that is not empty."""
    import pandas as pd

    return pd.DataFrame({column: [line.strip() for line in _lines(content) if line.strip()]})


def _without_halves(value: Any) -> Any:
    """Return a text without halves of surrogate pairs, as cut emojis leave them: they are no characters."""
    if isinstance(value, list):
        return [_without_halves(entry) for entry in value]
    return value.encode("utf-8", "ignore").decode() if isinstance(value, str) else value


def _to_row(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {doubled!r} stands twice in one object")
    return row


def _read_lines(name: str, content: bytes, separator: str) -> "pd.DataFrame":
    """Return the table of a CSV or TSV text, by its quotes or, where these are stray, line by line."""
    quoted: pd.DataFrame | None
    problem = None
    try:
        # As RFC 4180 has it.
        quoted = _split(content, separator, csv.QUOTE_MINIMAL)
    except (ValueError, Warning) as error:
        quoted, problem = None, error
    plain = _split_lines(content, separator) if b'"' in content else None
    if plain is None and problem is not None:
        raise problem
    # Fewer rows than lines that are whole by themselves: the quotes joined some, so they are letters.
    if plain is not None and separator == "\t" and (quoted is None or len(quoted) < len(plain)):
        return plain
    if quoted is not None and not _joins_whole_lines(quoted, separator):
        return quoted
    if quoted is not None and plain is None and _is_well_quoted(content, separator):
        return quoted
    does = "do not close" if quoted is None else "join whole lines"
    raise TaskDataError(
        f"the quotes in {name} must enclose one field each, but some {does}. Quote every text and double the quotes in "
        'it (""), or use JSONL.'
    )


def _split(content: bytes, separator: str, quoting: Any) -> "pd.DataFrame":
    import pandas as pd

    options: dict[str, Any] = {
        "encoding": "utf-8",
        "sep": separator,
        "dtype": str,
        "keep_default_na": False,
        "index_col": False,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with more fields than the header
        table: pd.DataFrame = pd.read_csv(io.BytesIO(content), quoting=quoting, **options)
        # As the file has it: pandas renames doubled columns without a word.
        header = pd.read_csv(io.BytesIO(content), quoting=quoting, header=None, nrows=1, **options)
    names = header.iloc[0].tolist()
    if len(names) == len(table.columns):  # pandas calls a second column 'text' 'text.1', and one without a name too
        table.columns = pd.Index([name or made for name, made in zip(names, table.columns, strict=True)])
    return table


def _split_lines(content: bytes, separator: str) -> "pd.DataFrame | None":
    """Return one row a line, quotes being letters; None where a line has not as many fields as the header."""
    counts = (line.count(separator) for line in _lines(content) if line.strip())
    first = next(counts, None)
    if first is None or any(count != first for count in counts):
        return None
    try:
        return _split(content, separator, csv.QUOTE_NONE)
    except (ValueError, Warning):
        return None


def _joins_whole_lines(table: "pd.DataFrame", separator: str) -> bool:
    """Return whether some field holds a line from its beginning to its end that looks like a row."""
    fields = (value for row in table.itertuples(index=False) for value in row)
    inner = (value.split("\n")[1:-1] for value in fields if isinstance(value, str) and value.count("\n") > 1)
    return any(line.count(separator) == len(table.columns) - 1 for lines in inner for line in lines)


def _is_well_quoted(content: bytes, separator: str) -> bool:
    """Return whether every quote stands where RFC 4180 lets one stand."""
    try:
        for _ in csv.reader(
            io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline=""), delimiter=separator, strict=True
        ):
            pass
    except csv.Error as error:
        # A field that is longer than the csv module's limit is no wrong quote.
        return "field limit" in str(error)
    return True
