"""A command on several processes: those that torchrun has started, or those that the command has it start.

The first process does what a command does. The others take part in the training alone: they hold no output directory,
log nothing, print nothing but what went wrong with them alone, and end with the first one.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from compressor.errors import OptionError, TrainingError, shorten
from compressor.files import module_environment
from compressor.options import CPU_CORES, check_value
from compressor.training.settings import TrainingSettings

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

_TRAINING = "train-supernet"
_STOPPED_BY = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")


def count_started() -> int:
    """Return the processes that torchrun has started, this one among them; 1 without it."""
    size = os.environ.get("WORLD_SIZE", "1")
    return int(size) if "RANK" in os.environ and size.isdigit() else 1


def is_follower() -> bool:
    """Return whether torchrun has started this process beside a first one, which speaks for all."""
    return count_started() > 1 and os.environ["RANK"] != "0"


def require_training(command: str | None) -> None:
    """Raise where torchrun has started several processes of a command that is one process.

    Raises:
        OptionError: it has.
    """
    if count_started() > 1 and command != _TRAINING:
        raise OptionError(
            f"torchrun must start compressor {_TRAINING}, but got {command}. Run that without torchrun, as one process."
        )


def count_processes(asked: int) -> int:
    """Return the processes of a command that is asked for so many, of which torchrun may have started them already.

    Raises:
        OptionError: it has started others, or the number is out of its range.
    """
    check_value(TrainingSettings, "num_processes", asked)
    started = count_started()
    if started > 1 and asked not in (1, started):
        raise OptionError(
            f"--num-processes must be what torchrun has started, {started} in all, but got {asked}. Leave it out."
        )
    return max(asked, started)


@contextmanager
def silent_follower() -> Iterator[None]:
    """Have a follower print nothing on stdout for the time of the block, from the reading of its options on."""
    with ExitStack() as stack:
        if is_follower():
            stack.enter_context(redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))
        yield


@contextmanager
def take_part() -> Iterator[bool]:
    """Yield whether this process does the command's work, first or alone; others follow it, in silence."""
    # The usual case: nothing has started several processes of this command.
    if count_started() == 1:
        yield True
        return
    from compressor.training.ranks import joined_ranks

    # The first of several works and prints as one alone would.
    if not is_follower():
        with joined_ranks():
            yield True
        return
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), joined_ranks():
            yield False
    except (KeyboardInterrupt, TrainingError):  # the first process says why
        sys.exit(1)
    except Exception as error:
        click.echo(f"Error: process {os.environ['RANK']}: {shorten(error, 600)}", err=True)
        raise


def start_processes(words: list[str], num_processes: int) -> None:
    """Run a command on so many processes of this machine, by torchrun's launcher; end as its first process does.

    Raises:
        TrainingError: one of them was killed.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    signals = [name for name in _STOPPED_BY if hasattr(signal, name)]
    signals = [name for name in signals if signal.getsignal(getattr(signal, name)) != signal.SIG_IGN]  # as by nohup
    with TemporaryDirectory() as logs, _setting(num_processes), _signals_as_before(signals):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=num_processes,
            run_id="compressor",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
            signals_to_handle=",".join(signals),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "mlproject", *words)
        except ChildFailedError as error:
            raise _failure(error) from None
        except SignalException as stop:  # the processes were stopped too, and the first one has said so
            sys.exit(1 if stop.sigval == signal.SIGINT else 128 + stop.sigval)


def _failure(error: "ChildFailedError") -> BaseException:
    """Return what to raise where a process has failed: an exit where it has said why."""
    killed = {rank: -failure.exitcode for rank, failure in error.failures.items() if failure.exitcode < 0}
    for rank, number in killed.items():
        # The launcher itself ends the others by SIGTERM, once one has failed: that one is the cause.
        if number != signal.SIGTERM:
            return TrainingError(
                f"all processes of a training must come to its end, but process {rank} was killed "
                f"({signal.Signals(number).name}). Where memory ran out lower --per-device-train-batch-size; the same "
                "command again resumes after the last epoch."
            )
    return SystemExit(max(1, *(failure.exitcode for failure in error.failures.values())))


@contextmanager
def _setting(num_processes: int) -> Iterator[None]:
    """Yield the environment that the processes get: this very code, and their share of the cores."""
    import logging

    before = dict(os.environ)
    os.environ.update(module_environment())
    # Else each process would take all cores, and they would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, CPU_CORES // num_processes)))
    logging.disable(logging.CRITICAL)  # the launcher's own lines: the processes speak for themselves
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _signals_as_before(names: list[str]) -> Iterator[None]:
    """Restore the handlers of signals, which the launcher replaces."""
    with ExitStack() as stack:
        for name in names:
            number = getattr(signal, name)
            stack.callback(signal.signal, number, signal.getsignal(number))
        yield
