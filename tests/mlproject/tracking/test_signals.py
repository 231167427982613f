"""Signals end a command as Ctrl-C does, with an exit code of their own."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from mlproject.cli import commands as cli
from mlproject.tracking.signals import StopSignal, stop_signals, stopped


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Signals have their usual effect, also where the tests run below `nohup`, which ignores SIGHUP."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_is_one_line_and_its_exit_code(
    name: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.cli, "main", lambda *_, **__: os.kill(os.getpid(), signal.Signals[name]))
    with pytest.raises(SystemExit) as stop:
        cli.main(["search"])
    assert stop.value.code == code
    assert capsys.readouterr().err == f"Error: stopped by {name}; what was finished is kept.\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_plain_interruption_that_a_signal_caused_counts_as_the_signal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        raise KeyboardInterrupt  # as a library does that has tidied up first

    monkeypatch.setattr(cli.cli, "main", interrupted)
    with pytest.raises(SystemExit) as stop:
        cli.main(["nas"])
    assert stop.value.code == 143
    assert capsys.readouterr().err == "Error: stopped by SIGTERM; what was finished is kept.\n"


def test_who_keeps_what_was_finished_ends_by_the_same_signal() -> None:
    with stop_signals():
        with pytest.raises(KeyboardInterrupt) as first:
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # the same one, sent to the process group too
        assert stopped() is first.value
        assert isinstance(first.value, StopSignal) and first.value.exit_code == 143
    with stop_signals():
        assert not isinstance(stopped(), StopSignal)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
