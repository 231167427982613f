"""CPU, memory, disk, network and GPU of this machine as curves of a run: MLflow's measurements, our delivery.

MLflow's own monitor writes to the server itself, past the outbox: at the first request that fails its curves end for
good, and a server that does not answer holds up the end of the run. So its readings are logged as all else is.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from compressor.errors import shorten
from mlproject.tracking.delivery import SYSTEM_METRICS, SystemReadings
from mlproject.tracking.tracker import StageRun


@contextmanager
def log_system_metrics(run: StageRun) -> Iterator[None]:
    """Log system metrics of a run while the block lasts, every ten seconds (MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL).

    A resumed run continues its steps. What cannot be read costs one warning.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_log_until, args=(ended, run), name="system-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _log_until(ended: threading.Event, run: StageRun) -> None:
    """Log means of some readings at a time, and of the last ones however few."""
    try:
        readings = SystemReadings()
        readings.take()  # the first only says from when on the next one counts
        readings.means()
        step, is_last = run.tracker.outbox.next_step(run.name, SYSTEM_METRICS), False
        while not is_last:
            for _ in range(readings.samples):
                is_last = ended.wait(readings.interval_s)
                readings.take()
                if is_last:
                    break
            run.log_metrics(readings.means(), step)
            step += 1
    except (
        Exception
    ) as error:  # whatever psutil raises on this machine, or a full disk: the work behind it matters more
        print(f"Warning: system metrics end here ({shorten(error)}). The work continues.", file=sys.stderr)
