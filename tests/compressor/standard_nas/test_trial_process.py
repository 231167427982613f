"""A trial's process watches the search that started it before it loads its libraries."""

import os
import subprocess
import sys
from pathlib import Path

from compressor.files import module_environment
from compressor.standard_nas import trial_process
from compressor.standard_nas.trial_actor import TRIAL_COMMAND


def test_it_ends_where_its_search_is_gone_already(tmp_path: Path) -> None:
    environment = {**os.environ, trial_process.PARENT_VARIABLE: "1"}
    ended = subprocess.run([*TRIAL_COMMAND, str(tmp_path)], env=environment, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_nothing_heavy_is_loaded_before_it_watches() -> None:
    code = "import sys, compressor.parent_process; print({'torch', 'numpy', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env=module_environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
