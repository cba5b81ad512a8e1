"""Sets the environment for a bare `import jittor`, as utils.runtime.start does for the commands of this project.

Without it, Jittor decides by itself: it takes any nvcc on PATH, and on a machine without CUDA's libraries its import
then fails (libcudart.so); and it compiles a cache of its own for each mpicc and each git branch.

scripts/prepare_jittor.py installs this file in the environment's site-packages as ccnet_before_jittor.py, beside a
copy of utils/machine.py (ccnet_runtime.py) and ccnet_jittor.pth, by which Python imports this file when it starts. At
that moment it only takes its place among the finders of modules; everything else waits for the import of Jittor.
"""

import os
import sys

DECIDED = ("cache_name", "mpicc_path", "nvcc_path")  # runtime.start sets all three


class BeforeJittor:
    """Finds no module. `jittor_utils` is what `import jittor` imports first, before anything reads the environment."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "jittor_utils":
            sys.meta_path.remove(cls)
            if any(key not in os.environ for key in DECIDED):
                set_environment()
        return None


def set_environment():
    """Variables that are set already are kept. HOME is an exception: runtime names another where it is not writable."""
    import ccnet_runtime as runtime

    try:
        values = runtime.environment(runtime.choose_device("auto")[0])
    except runtime.MachineError:  # the user's nvcc_path is not the prepared one: it is kept, and the rest is as without
        values = runtime.environment("cpu")
    os.environ.update({key: value for key, value in values.items() if key not in os.environ or key == "HOME"})


sys.meta_path.insert(0, BeforeJittor)
