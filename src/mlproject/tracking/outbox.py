"""What a command has to tell MLflow, written down before it is told: an append-only file, and how far it got.

Entries are plain JSON. One whose content is there already is not added again, so that a command that goes on after an
interruption may tell all of it once more. The header is written before MLflow hears of anything, so that a command that
is killed at any moment goes on in its own run; one that fails before it has made anything takes it away again.

Lines that were damaged since are passed over: what they said is told again by the command that goes on.
"""

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compressor.errors import FileError, OutputError
from compressor.files import append_json_line, make_directory, read_json, read_json_lines, remove_empty, write_json

Entry = dict[str, Any]
"""`kind`, the `run` it belongs to (by our own name for it), and what the kind needs; told `again` if it says so."""

FOLDER = ".compressor"
"""Of an output directory: what the tool keeps for itself."""
_HEADER, _ENTRIES, _DELIVERED = "command.json", "entries.jsonl", "delivered.jsonl"
LOCK_FILE = "lock"
"""In `FOLDER`: held by the process that is at work in the output directory."""
_HEADER_KEYS = {"command": str, "options": dict, "tracking_uri": str}
_DAMAGED: Entry = {"kind": "damaged", "run": "", "again": True}
TOP = "top"
"""Our name for the run of the command itself."""
_TIMES = ("start_ms", "end_ms", "now_ms")


class Outbox:
    """The entries of one output directory, in order."""

    def __init__(self, output_dir: Path) -> None:
        self.output_dir = output_dir
        self.header = read_header(output_dir)
        """What the directory was begun with; empty for a new one."""
        self.run_ids: dict[str, str] = {}
        """MLflow's ids of the runs, by our names for them."""
        self._folder = output_dir / FOLDER
        self._entries: list[Entry] = [_checked(line) for line in read_json_lines(self._folder / _ENTRIES)]
        self._known = {_content(entry) for entry in self._entries}
        self._points = {point for entry in self._entries for point in _points(entry)}
        self._written = len(self._entries)
        self._header_written = bool(self.header)
        self._delivered = 0
        self._results: dict[str, Any] = {}
        marks = read_json_lines(self._folder / _DELIVERED)
        whole = [mark for mark in marks if isinstance(mark, dict) and isinstance(mark.get("number"), int)]
        for mark in whole:
            self._delivered = mark["number"]
            if isinstance(mark.get("run_id"), str) and isinstance(mark.get("run"), str):
                self.run_ids[mark["run"]] = mark["run_id"]
            if "result" in mark and 0 < mark["number"] <= len(self._entries):
                self._results[_content(self._entries[mark["number"] - 1])] = mark["result"]
        if len(whole) < len(marks) or self._delivered > len(self._entries):
            self._delivered = 0  # which runs are known is not: all is told again
        self.num_old = len(self._entries)
        """Entries of an earlier process: which of them it has delivered is not known for sure."""
        self.damaged = _DAMAGED in self._entries or len(whole) < len(marks)
        """Whether something of it cannot be read any more."""
        self.kept = False
        """Whether there is work to lose, though nothing is in the output directory yet."""
        self._made: list[Path] = []
        self._marks: list[Entry] = []
        self._lock = threading.Lock()  # entries are added by one thread and delivered by another

    def begin(self, header: dict[str, Any]) -> None:
        """Sets the header, and makes the directory for it."""
        self._header_written = self._header_written and header == self.header
        self.header = header
        self._made += make_directory(self.output_dir)
        self.write()

    def forget_if_empty(self) -> None:
        """Takes the outbox away again, where nothing was made and all was told; the directory too, if it made it."""
        own = {_HEADER, _ENTRIES, _DELIVERED, LOCK_FILE}
        empty = all(path.name == FOLDER for path in self.output_dir.glob("*"))
        empty = empty and all(path.name in own for path in self._folder.glob("*"))
        if empty and not self.kept and not self.num_pending:
            self.header = {}
            clear(self.output_dir)
            remove_empty([self._folder, *self._made])

    def add(self, entry: Entry) -> bool:
        """Adds an entry; False if its content is there already. Points of a metric that are known are left out."""
        points = _points(entry)
        if points and not entry.get("again"):
            if points <= self._points:
                return False
            new = points - self._points
            entry["metrics"] = [metric for metric in entry["metrics"] if (entry["run"], *metric) in new]
            self._points |= new
        content = _content(entry)
        if content in self._known and not entry.get("again"):
            return False
        self._known.add(content)
        self._entries.append(entry)
        self.write()
        return True

    def open_below(self, run: str) -> list[str]:
        """Runs below another one that were made and have not ended."""
        made = [entry["run"] for entry in self._entries if entry["kind"] == "create"]
        below = [name for name in made if name != run and (run == TOP or name.startswith(f"{run}/"))]
        return [name for name in below if self.last_status(name) is None]

    def pending(self) -> Iterator[Entry]:
        """The entries that were not delivered, oldest first; each is to be marked before the next is taken."""
        while self._delivered < self._written:  # not those that a full disk has refused
            yield self._entries[self._delivered]

    @property
    def is_old(self) -> bool:
        """Whether the oldest pending entry is an earlier process's."""
        return self._delivered < self.num_old

    @property
    def says_finished(self) -> bool:
        """Whether the command has come to its end, as far as the entries tell."""
        return self.last_status(TOP) == "FINISHED"

    def last_status(self, run: str) -> str | None:
        """What a run ended with the last time; None for one that has not ended."""
        return _last_status(self._entries, run)

    @property
    def num_pending(self) -> int:
        """How many entries were not delivered."""
        return len(self._entries) - self._delivered

    def result(self, entry: Entry) -> Any:
        """What the delivery of an entry of that content gave, by this process or an earlier one; None if nothing."""
        return self._results.get(_content(entry))

    def is_pending(self, entry: Entry) -> bool:
        """Whether an entry of that content waits to be delivered."""
        return any(_content(waiting) == _content(entry) for waiting in self._entries[self._delivered :])

    def mark_delivered(self, entry: Entry, run_id: str | None = None, result: Any = None) -> None:
        """Notes that the oldest pending entry was delivered, the id of the run it made, and what else came of it."""
        self._delivered += 1
        mark: Entry = {"number": self._delivered}
        if run_id is not None:
            self.run_ids[entry["run"]] = run_id
            mark |= {"run": entry["run"], "run_id": run_id}
        if result is not None:
            self._results[_content(entry)] = result
            mark["result"] = result
        self._marks.append(mark)
        self.write()

    def write(self) -> None:
        """Brings the files up to date; makes the output directory for what a command that was begun there has said."""
        with self._lock:
            if not self.header and not self.output_dir.is_dir():
                return
            if self.header and not self._header_written:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_json(self._folder / _HEADER, self.header)
                self._header_written = True
            while self._written < len(self._entries):
                append_json_line(self._folder / _ENTRIES, self._entries[self._written], durable=False)
                self._written += 1
            while self._marks:
                append_json_line(self._folder / _DELIVERED, self._marks[0], durable=False)
                self._marks.pop(0)


def read_header(output_dir: Path) -> dict[str, Any]:
    """What an output directory was begun with: command, options, tracking server and run; empty for another one.

    Raises:
        OutputError: the file that says it is damaged.
    """
    path = output_dir / FOLDER / _HEADER
    if not path.is_file():
        return {}
    try:
        header = read_json(path)
    except FileError:
        header = None
    if not isinstance(header, dict) or not all(isinstance(header.get(k), kind) for k, kind in _HEADER_KEYS.items()):
        raise OutputError(
            f"{path} must say which command was begun there, but it is damaged. Results beside it are whole; choose "
            "another --output-dir, or begin anew with --overwrite-output-dir."
        )
    return header


def clear(output_dir: Path) -> dict[str, Any]:
    """Forgets what an output directory was begun with, but not that it is locked; the header, as far as it is known."""
    try:
        before = read_header(output_dir)
    except OutputError:
        before = {}
    for path in (output_dir / FOLDER).glob("*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK_FILE:
            path.unlink(missing_ok=True)
    return before


def is_finished(output_dir: Path) -> bool:
    """Whether the command that an output directory was begun with came to its end."""
    entries = [_checked(line) for line in read_json_lines(output_dir / FOLDER / _ENTRIES)]
    return _last_status(entries, TOP) == "FINISHED"


def _last_status(entries: Sequence[Entry], run: str) -> str | None:
    said = [entry for entry in entries if entry["kind"] in ("end", "reopen") and entry["run"] == run]
    return str(said[-1].get("status")) if said and said[-1]["kind"] == "end" else None


def _checked(line: Any) -> Entry:
    """A line as an entry; a damaged one as an entry that says nothing, so that all others keep their numbers."""
    try:
        whole = isinstance(line["kind"], str) and isinstance(line["run"], str) and _points(line) is not None
    except (TypeError, KeyError, ValueError):
        whole = False
    return line if whole else _DAMAGED


def _points(entry: Entry) -> set[tuple[str, str, float, int]]:
    """The points of metrics that an entry tells: run, name, value, step."""
    told = entry.get("metrics", ()) if entry["kind"] == "log" else ()
    return {(entry["run"], name, value, step) for name, value, step in told}


def _content(entry: Entry) -> str:
    """A hash of what an entry says, whenever it was said."""
    said = {key: value for key, value in entry.items() if key not in _TIMES}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
