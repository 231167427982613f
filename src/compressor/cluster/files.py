"""Files as arrays, which Ray sends without pickling what is in them and keeps once on each machine."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from compressor.errors import ClusterError, shorten


def pack_files(folder: Path) -> dict[str, np.ndarray]:
    """Return the bytes [bytes] of all files below a folder, by their names in it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): np.fromfile(file, np.uint8) for file in files}


def unpack_files(files: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write such files below a folder; an array whose name ends in `.npy` becomes a file of NumPy's.

    Raises:
        ClusterError: a name leads out of the folder; nothing was written then.
    """
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ClusterError(
                f"files of a cluster must lie in the folder they are sent for, but got {shorten(repr(name), 60)}. "
                "Look at the machine that sent it."
            )
    for name, array in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            # Arrays travel as such, so that Ray shares their memory; as bytes they would be copied for each process.
            np.save(path, array, allow_pickle=False)
        else:
            array.tofile(path)
