"""What a command has to log to MLflow, written down before it is sent: an append-only file, and how far it got.

An event that was logged already is not added again, so that a resumed command may log all of
it once more. The header is written before anything is sent to MLflow, so that a command killed at any moment goes
on in its own run; one that fails before it has made anything takes it away again.

Lines that were damaged since are passed over: what they said is logged again by the command that resumes.
"""

import shutil
import threading
from collections.abc import Hashable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compressor.errors import FileError, OutputError
from compressor.files import (
    STATE_FOLDER,
    append_json_line,
    make_directory,
    read_json,
    read_json_lines,
    remove_empty,
    write_json,
    write_text,
)
from compressor.records import Count, parse_record
from mlproject.tracking.events import CreateRun, Damaged, EndRun, Event, LogMetrics, LogModel, ReopenRun, parse_event

_HEADER, _ENTRIES, _DELIVERED = "command.json", "entries.jsonl", "delivered.jsonl"
LOCK_FILE = "lock"
"""In `STATE_FOLDER`: held by the process that is at work in the output directory."""
TOP = "top"
"""Our name for the run of the command itself."""


@dataclass(frozen=True)
class Command:
    """A command and those of its options that must be the same when it resumes."""

    command: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Header(Command):
    """What an output directory was begun with."""

    tracking_uri: str
    run_key: str | None = None
    """Our own name for the command's run, by which it is found where its id was not noted."""
    experiment_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class _Mark:
    """A line that notes a delivery."""

    number: Count
    """The number of the event, from 1."""
    run: str | None = None
    run_id: str | None = None
    """The id of the run that was made."""
    result: str | None = None
    """Address of the model that was made."""


class Outbox:
    """The events of one output directory, in order."""

    def __init__(self, output_dir: Path) -> None:
        self.output_dir = output_dir
        self.header = read_header(output_dir)
        """What the directory was begun with; None for a new one."""
        self.run_ids: dict[str, str] = {}
        """MLflow's ids of the runs, by our names for them."""
        self._folder = output_dir / STATE_FOLDER
        self._events = [parse_event(line) for line in read_json_lines(self._folder / _ENTRIES)]
        self._written = len(self._events)
        self._header_written = self.header is not None
        self._results: dict[str, str] = {}
        # None stands for a line that cannot be read, such as one that was cut short.
        marks = [_parse_mark(line) for line in read_json_lines(self._folder / _DELIVERED)]
        self._delivered = self._read_marks([mark for mark in marks if mark is not None])
        if None in marks or self._delivered > len(self._events):
            self._delivered = 0  # which runs are known is not: all is logged again
        self._known: set[Hashable] = set()
        self._ends: dict[str, EndRun] = {}
        for number, event in enumerate(self._events):
            self._note(event)
            if number < self._delivered:
                self._forget_refused(event)
        self.num_old = len(self._events)
        """Events of an earlier process: which of them it has delivered is not known for sure."""
        self.damaged = Damaged() in self._events or None in marks
        """Whether something of it cannot be read any more."""
        self.kept = False
        """Whether there is work to lose, though nothing is in the output directory yet."""
        self._own = {_HEADER, _ENTRIES, _DELIVERED, LOCK_FILE}
        self._made: list[Path] = []
        self._marks: list[_Mark] = []
        self._lock = threading.RLock()  # events are added by some threads and delivered by another

    def begin(self, header: Header) -> None:
        """Set the header, and make the directory for it."""
        self._header_written = self._header_written and header == self.header
        self.header = header
        self._made += make_directory(self.output_dir)
        self.write()

    def keep(self, name: str, text: str) -> Path:
        """Write a file beside the events, which goes with them; its path."""
        self._own.add(name)
        return write_text(self._folder / name, text)

    def forget_if_empty(self) -> None:
        """Take the outbox away again, where nothing was made and all was logged; the directory too, if it made it."""
        empty = all(path.name == STATE_FOLDER for path in self.output_dir.glob("*"))
        empty = empty and all(path.name in self._own for path in self._folder.glob("*"))
        if empty and not self.kept and not self.num_pending:
            self.header = None
            clear(self.output_dir)
            remove_empty([self._folder, *self._made])

    def add(self, event: Event) -> bool:
        """Add what of an event is not known yet; False where all is."""
        with self._lock:
            new = event.without(self._known)
            # An end may repeat, for a run can be opened again in between; the same end twice in a row says nothing.
            if new is None or self._ends.get(event.run) == event:
                return False
            self._note(new)
            self._events.append(new)
            self.write()
            return True

    def send_again(self) -> None:
        """Have all events delivered once more, to runs that are made anew: MLflow has lost those of before."""
        with self._lock:
            (self._folder / _DELIVERED).unlink(missing_ok=True)
            self._marks.clear()
            self.run_ids.clear()
            self._results.clear()
            self._delivered = 0

    def open_below(self, run: str) -> list[str]:
        """Run below another one that were made and have not ended."""
        made = [event.run for event in self._events if isinstance(event, CreateRun)]
        below = [name for name in made if name != run and (run == TOP or name.startswith(f"{run}/"))]
        return [name for name in below if self.last_status(name) is None]

    def pending(self) -> Iterator[Event]:
        """Yield the events that were not delivered, oldest first; each is to be marked before the next is taken."""
        while self._delivered < self._written:  # not those that a full disk has refused
            yield self._events[self._delivered]

    @property
    def is_old(self) -> bool:
        """Whether the oldest pending event is an earlier process's."""
        return self._delivered < self.num_old

    @property
    def says_finished(self) -> bool:
        """Whether the command has come to its end, as far as the events tell."""
        return self.last_status(TOP) == "FINISHED"

    def last_status(self, run: str) -> str | None:
        """Return what a run ended with the last time; None for one that has not ended."""
        end = self._ends.get(run)
        return end.status if end else None

    def next_step(self, run: str, prefix: str) -> int:
        """Return the step after the last that was logged of a run's metrics whose names begin so."""
        logged = (event for event in self._events if isinstance(event, LogMetrics) and event.run == run)
        steps = (step for event in logged for name, _, step in event.metrics if name.startswith(prefix))
        return max(steps, default=-1) + 1

    @property
    def num_pending(self) -> int:
        """How many events were not delivered."""
        return len(self._events) - self._delivered

    def result(self, model: LogModel) -> str | None:
        """Return the address of a model that was logged by this process or an earlier one; None where it was not."""
        return self._results.get(model.identity)

    def mark_delivered(self, event: Event, result: str | None = None) -> None:
        """Note that the oldest pending event was delivered, and the id of the run or address of the model it made."""
        self._delivered += 1
        mark = _Mark(self._delivered, result=result)
        # Later events ask for these ids and addresses, also in a process that resumes.
        if isinstance(event, CreateRun) and result is not None:
            self.run_ids[event.run] = result
            mark = _Mark(self._delivered, run=event.run, run_id=result)
        elif isinstance(event, LogModel) and result is not None:
            self._results[event.identity] = result
        self._forget_refused(event)
        self._marks.append(mark)
        self.write()

    def _note(self, event: Event) -> None:
        """Keep by what an event is known."""
        self._known |= event.keys()
        if isinstance(event, EndRun):
            self._ends[event.run] = event
        elif isinstance(event, ReopenRun):
            self._ends.pop(event.run, None)

    def _forget_refused(self, event: Event) -> None:
        """Let a delivered model be logged again, where nothing came of it."""
        if isinstance(event, LogModel) and event.identity not in self._results:
            self._known -= event.keys()

    def _read_marks(self, marks: list[_Mark]) -> int:
        """Take over what came of the deliveries that are marked; how many they were."""
        for mark in marks:
            if mark.run is not None and mark.run_id is not None:
                self.run_ids[mark.run] = mark.run_id
            event = self._events[mark.number - 1] if 0 < mark.number <= len(self._events) else None
            if mark.result is not None and isinstance(event, LogModel):
                self._results[event.identity] = mark.result
        return marks[-1].number if marks else 0

    def write(self) -> None:
        """Bring the files up to date; makes the output directory for what a command that was begun there has said."""
        with self._lock:
            # Nothing has begun here: a command that fails early leaves no folder.
            if self.header is None and not self.output_dir.is_dir():
                return
            # The header first: events in a folder that says of no command would belong to nobody.
            if self.header is not None and not self._header_written:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_json(self._folder / _HEADER, asdict(self.header))
                self._header_written = True
            # What a full disk refused stays in the list, and is tried again with the next event.
            while self._written < len(self._events):
                append_json_line(self._folder / _ENTRIES, self._events[self._written].to_json(), durable=False)
                self._written += 1
            while self._marks:
                said = {name: value for name, value in asdict(self._marks[0]).items() if value is not None}
                append_json_line(self._folder / _DELIVERED, said, durable=False)
                self._marks.pop(0)


def read_header(output_dir: Path) -> Header | None:
    """Return what an output directory was begun with; None for another one.

    Raises:
        OutputError: the file that says it is damaged.
    """
    path = output_dir / STATE_FOLDER / _HEADER
    if not path.is_file():
        return None
    try:
        return parse_record(Header, read_json(path))
    except (FileError, ValueError):
        raise OutputError(
            f"{path} must say which command was begun there, but it is damaged. Results beside it are whole; choose "
            "another --output-dir, or begin anew with --overwrite-output-dir."
        ) from None


def clear(output_dir: Path) -> Header | None:
    """Forget what an output directory was begun with, but not that it is locked; the header, as far as it is known."""
    try:
        before = read_header(output_dir)
    # What a damaged file said is to be forgotten anyway.
    except OutputError:
        before = None
    for path in (output_dir / STATE_FOLDER).glob("*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        # The lock is held by the very command that clears.
        elif path.name != LOCK_FILE:
            path.unlink(missing_ok=True)
    return before


def _parse_mark(line: Any) -> _Mark | None:
    try:
        return parse_record(_Mark, line)
    except ValueError:
        return None
