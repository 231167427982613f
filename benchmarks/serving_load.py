"""What a served model takes: latency and rows per second over HTTP, as `mlflow models serve` answers.

Starts a server per model, one after the other, and sends single texts one by one, then batches of 32 texts from several
clients at once. `python benchmarks/serving_load.py --model dense=models:/NAME/1 --model pruned=models:/NAME/2` with
MLFLOW_TRACKING_URI set to where they are registered; about a minute a model.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import requests

TEXTS = (
    "A film to remember.",
    "The second half drags, and the ending makes no sense at all.",
    "An honest, funny and surprisingly moving portrait of a family that never learned how to talk to each other.",
    "Dull.",
)
_START_S = 120


@contextmanager
def serving(uri: str) -> Any:
    """The address of a server for a model, while the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, "-m", *command], start_new_session=True, **quiet)  # type: ignore[call-overload]
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(_START_S):
            try:
                if requests.get(f"{address}/ping", timeout=1).ok:
                    break
            except requests.RequestException:
                time.sleep(1)
        yield f"{address}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # the server has workers of its own
        server.wait()


def ask(address: str, texts: list[str]) -> float:
    """The seconds an answer takes."""
    start = time.perf_counter()
    answer = requests.post(address, json={"inputs": texts}, timeout=60)
    seconds = time.perf_counter() - start
    answer.raise_for_status()
    assert len(answer.json()["predictions"]) == len(texts)
    return seconds


def measure(address: str, requests_sent: int, clients: int) -> dict[str, float]:
    """p50 and p99 of single texts, and rows per second of batches from several clients."""
    ask(address, list(TEXTS))
    singles = [1e3 * ask(address, [TEXTS[number % len(TEXTS)]]) for number in range(requests_sent)]
    batch = [TEXTS[number % len(TEXTS)] for number in range(32)]
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: ask(address, batch), range(requests_sent // 4)))
    rows = len(batch) * (requests_sent // 4) / (time.perf_counter() - start)
    p50, p99 = np.percentile(singles, (50, 99))
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2), "rows_per_second": round(rows, 1)}


def main() -> None:
    """Serves and asks each model; one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=URI")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=2)
    arguments = parser.parse_args()
    found = {}
    for entry in arguments.model:
        name, _, uri = entry.partition("=")
        with serving(uri) as address:
            found[name] = measure(address, arguments.requests, arguments.clients)
        print(name, found[name], flush=True)
    print(json.dumps({"benchmark": "serving_load", "clients": arguments.clients, "models": found}))


if __name__ == "__main__":
    main()
