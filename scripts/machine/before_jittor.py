"""Sets the environment for a bare `import jittor`, as utils.runtime.start does for the commands of this project.

Without it, Jittor uses any nvcc on PATH, so that its import fails on a machine without the CUDA libraries
(libcudart.so), and it compiles a separate cache for each mpicc and each git branch.

scripts/prepare_jittor.py copies this file to site-packages as ccnet_before_jittor.py, together with a copy of
utils/machine.py (ccnet_runtime.py) and ccnet_jittor.pth, which makes Python import this file at startup. That only
registers a finder in sys.meta_path; the environment is set when Jittor is imported.
"""

import os
import sys

REQUIRED = ("cache_name", "mpicc_path", "nvcc_path")  # runtime.start sets all three


class BeforeJittor:
    """A finder that finds no module. `import jittor` first imports `jittor_utils`, which reads the environment."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "jittor_utils":
            sys.meta_path.remove(cls)
            if any(key not in os.environ for key in REQUIRED):
                set_environment()
        return None


def set_environment():
    """Variables that are already set are kept, except HOME and JITTOR_HOME, which runtime replaces if they cannot be
    used. A missing compiler is an error that names the fix."""
    import ccnet_runtime as runtime

    runtime.check_compiler()
    try:
        values = runtime.environment(runtime.choose_device("auto")[0])
    except runtime.MachineError:  # nvcc_path is set and is not the prepared one: keep it, set the rest as for the CPU
        values = runtime.environment("cpu")
    replaced = ("HOME", "JITTOR_HOME")
    os.environ.update({key: value for key, value in values.items() if key not in os.environ or key in replaced})


sys.meta_path.insert(0, BeforeJittor)
