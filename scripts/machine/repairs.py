"""The repairs to Jittor 1.3.11: texts to replace and files to rename; repair.py applies them.

A repair is (name, reason, condition, [(file, [(published text, new text, number of occurrences)])], [files to rename]).
The condition takes the versions of CUDA and cuDNN. An applied repair is recognised by its texts: after a change of
them, existing environments must reinstall Jittor.
"""

from scripts.machine import compiler_repairs, cuda_repairs, cudnn_repairs, import_repairs, python_repairs

everywhere = compiler_repairs.everywhere
FOR_ALL = (*compiler_repairs.REPAIRS, *import_repairs.REPAIRS, *python_repairs.REPAIRS)
REPAIRS = (*FOR_ALL, *cuda_repairs.REPAIRS, *cudnn_repairs.REPAIRS)
