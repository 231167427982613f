"""A connection to a Ray cluster for the time of a block, and nothing of it left behind.

A cluster has an address; `local` stands for one of this machine that is started here and ends with the block. Nothing
is reported to Ray's makers. A local cluster takes work from this process alone: it has a token of its own, as whoever
reaches a cluster may run code there.
"""

import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compressor.errors import ClusterError, shorten

LOCAL = "local"
"""The address of a cluster of this machine that is started for the time of the block."""
_AUTO = "auto"
"""Ray's word for the cluster that was started on this machine."""
_ANSWER_S = 5.0
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns of what it will do one day
    "RAY_DEDUP_LOGS": "0",
}
_TOUCHED = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_CLIENT_MODE", "PYTHONBREAKPOINT")
"""What Ray sets itself, or is set here where the user did not."""


@contextmanager
def connect(address: str) -> Iterator[Any]:
    """Give the module `ray`, connected to the cluster at HOST:PORT, ray://HOST:PORT, auto or local for the block.

    One that the caller has connected already is used as it is, and stays.

    Raises:
        ClusterError: Ray is not installed, nothing answers at the address, or the cluster wants another token.
    """
    require_cluster(address)
    with _quiet(), _environment(local=address == LOCAL):
        import ray

        if ray.is_initialized():
            yield ray
            return
        folder = _make_folder() if address == LOCAL else None
        try:
            with _same_handler():
                _init(ray, address, folder)
            yield ray
        finally:
            # Also where `init` failed half-way: processes of a local cluster may run already.
            with _same_handler():
                ray.shutdown()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def require_cluster(address: str) -> None:
    """Raise where Ray is not installed, or nothing listens at the address: Ray itself would try for a minute.

    Raises:
        ClusterError: so it is.
    """
    if importlib.util.find_spec("ray") is None:
        raise ClusterError(
            "--ray must find Ray, but it is not installed. Install the extra: pip install -e '.[ray]', or leave --ray "
            "(and RAY_ADDRESS) out."
        )
    if address in (LOCAL, _AUTO):
        return
    # From the right: an IPv6 address has colons of its own.
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise _no_answer(address, "it is not HOST:PORT, ray://HOST:PORT, auto or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except OSError as error:
        raise _no_answer(address, shorten(error)) from None


def _init(ray: Any, address: str, folder: Path | None) -> None:
    """Start a local cluster in a folder, or join the one at the address."""
    options: dict[str, Any] = {} if folder is None else {"include_dashboard": False, "_temp_dir": str(folder)}
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
    except Exception as error:  # Ray raises a dozen kinds for an address that it cannot use
        raise _no_answer(address, shorten(error)) from error


@contextmanager
def _same_handler() -> Iterator[None]:
    """Keep the handler of SIGTERM: Ray's own ends the process without a word, Ray's end leaves the system's default.

    Python does not see the latter, so the handler is set anew even where it seems to be there.
    """
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # Python sets handlers in the main thread alone, and Ray too.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _no_answer(address: str, reason: str) -> ClusterError:
    return ClusterError(
        f"--ray (or RAY_ADDRESS) must be the address of a Ray cluster that answers, but {shorten(address, 100)!r} "
        f"does not: {reason.rstrip('.')}. Start one, correct the address or RAY_AUTH_TOKEN, or take local."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings that Ray's modules give of themselves."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"ray($|\.)")
        yield


@contextmanager
def _environment(*, local: bool) -> Iterator[None]:
    """Set what Ray and the processes it starts read; for a local cluster also a token, unless there is one."""
    settings = dict(_SETTINGS)
    if local and "RAY_AUTH_MODE" not in os.environ:
        # Anybody who reaches the ports of a Ray cluster may run code on it: one that is begun here gets a token of its
        # own.
        settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    # Also what Ray itself may set on the way, so that the block leaves the environment as it was.
    before = {name: os.environ.get(name) for name in (*settings, *_TOUCHED)}
    os.environ.update(settings)
    try:
        _read_environment()
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        _read_environment()


def _read_environment() -> None:
    """Have Ray read the environment when it connects: it keeps the settings and the token it has seen before."""
    import ray
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # its stubs lack them

    if not ray.is_initialized():
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


def _make_folder() -> Path:
    """Make a folder for the sockets and logs of a local cluster; paths of sockets end at 107 characters."""
    from compressor.cluster.scratch import make_scratch

    base = tempfile.gettempdir()
    # Ray adds some 80 characters of its own to it.
    return make_scratch("cmp-ray", base if len(base) <= 16 else "/tmp")
