"""On PYTHONPATH under scripts/coverage.sh: a worker process that is told to end has time to write what it executed.

Pools close their pipes and terminate their processes at once. Here the processes have five seconds to leave by
themselves first, as they do when the pipe ends, and coverage writes its data then.
"""

from multiprocessing.process import BaseProcess

terminate = BaseProcess.terminate


def leave_first(process):
    process.join(5)
    terminate(process)


BaseProcess.terminate = leave_first
