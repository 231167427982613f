"""How standard NAS starts a trial: this file as a script, before PyTorch is loaded, which takes seconds.

From its first moment on the process ends with the search that started it, however that goes: the search may be started
again, and two trials must not train into one directory.
"""

import os
import sys

PARENT_VARIABLE = "COMPRESSOR_TRIAL_PARENT"
"""In a trial's environment: the process id of the search that started it."""

if __name__ == "__main__":
    sys.path.pop(0)  # this file's folder, whose modules are the package's
    from compressor.parent_process import end_with_parent

    end_with_parent(int(os.environ.get(PARENT_VARIABLE, os.getppid())))
    from compressor.standard_nas.trial import main

    main()
