"""Files as arrays: there and back, and never out of their folder."""

from pathlib import Path

import numpy as np
import pytest

from compressor.cluster.files import pack_files, unpack_files
from compressor.errors import ClusterError


def test_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "from" / "below").mkdir(parents=True)
    (tmp_path / "from" / "config.json").write_text("{}")
    (tmp_path / "from" / "empty").write_bytes(b"")
    (tmp_path / "from" / "below" / "weights").write_bytes(bytes(range(256)))
    files = pack_files(tmp_path / "from")
    assert list(files) == ["below/weights", "config.json", "empty"]
    unpack_files(files | {"rows/labels.npy": np.arange(6).reshape(2, 3)}, tmp_path / "to")
    assert (tmp_path / "to" / "below" / "weights").read_bytes() == bytes(range(256))
    assert (tmp_path / "to" / "empty").read_bytes() == b""
    assert np.array_equal(np.load(tmp_path / "to" / "rows" / "labels.npy"), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("name", ["../outside", "/outside", "below/../../outside"])
def test_no_file_leaves_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"^files of a cluster must lie in the folder they are sent for, but got "):
        unpack_files({"first": np.zeros(1, np.uint8), name: np.zeros(1, np.uint8)}, tmp_path / "to")
    assert not (tmp_path / "to").exists()
