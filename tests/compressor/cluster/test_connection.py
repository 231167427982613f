"""A connection to Ray: what it says where there is none, and that nothing of one is left behind."""

import ast
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from compressor.cluster.connection import connect, require_cluster
from compressor.errors import ClusterError


def test_ray_is_imported_where_it_is_asked_for_alone() -> None:
    """It is an extra: no module imports it as it is imported itself."""
    for path in (Path(__file__).parents[3] / "src").rglob("*.py"):
        at_once = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("ray" in ast.unparse(node).replace(",", " ").split() for node in at_once), path


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"^--ray must find Ray, but it is not installed\. Install the extra: pip i"):
        require_cluster("local")


@pytest.mark.parametrize("address", ["nothing", "host:", ":6379", "host:port", "host:0", "host:65536", "ray://host"])
def test_what_is_no_address(address: str) -> None:
    message = (
        f"--ray (or RAY_ADDRESS) must be the address of a Ray cluster that answers, but {address!r} does not: "
        "it is not HOST:PORT, ray://HOST:PORT, auto or local. Start one, correct the address or RAY_AUTH_TOKEN, or "
        "take local."
    )
    with pytest.raises(ClusterError) as raised, connect(address):
        pass
    assert str(raised.value) == message


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_told_at_once(scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ClusterError, match=rf"but '{scheme}127.0.0.1:{port}' does not: .*refused"):
        require_cluster(f"{scheme}127.0.0.1:{port}")


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_of_this_machine_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    before, usual = dict(os.environ), signal.getsignal(signal.SIGTERM)

    def handler(*_: object) -> None:
        """As that of a command."""

    signal.signal(signal.SIGTERM, handler)
    with connect("local") as ray:
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert signal.getsignal(signal.SIGTERM) is handler
        folder = Path(ray._private.worker._global_node.get_session_dir_path()).parent
        assert folder.is_dir()
        assert ray.get(ray.put(b"some bytes")) == b"some bytes"
        with connect("local") as again:  # the same one, which stays
            assert again is ray
        assert ray.is_initialized()
    assert not ray.is_initialized()
    assert not folder.exists()
    assert dict(os.environ) == before
    assert not (tmp_path / ".ray").exists()
    assert signal.getsignal(signal.SIGTERM) is handler
    assert is_heard(signal.SIGTERM)
    signal.signal(signal.SIGTERM, usual)


def is_heard(number: int) -> bool:
    """Whether the system calls a handler of this process; Python knows what it has set itself alone."""
    status = Path("/proc/self/status")
    if not status.exists():
        return True
    caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
