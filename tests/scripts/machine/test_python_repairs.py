"""Arrays between NumPy and Jittor, of whichever NumPy is installed, and Jittor's own processes and modules."""

import multiprocessing
import subprocess
import sys

import jittor as jt
import jittor_utils
import numpy as np
import pytest

DTYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)


@pytest.fixture
def wide_types():
    jt.flags.auto_convert_64_to_32 = 0
    yield
    jt.flags.auto_convert_64_to_32 = 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 9), (1,), (3, 5, 7)])
def test_arrays_go_there_and_back(wide_types, dtype, shape):
    """The bytes to copy follow from the size of an element, which NumPy 2 keeps elsewhere."""
    array = (np.arange(np.prod(shape)).reshape(shape) % 100).astype(dtype)
    back = jt.array(array).numpy()
    assert back.dtype == array.dtype and back.shape == array.shape and (back == array).all()


def test_arrays_that_are_not_contiguous_are_copied(wide_types):
    """By PyArray_CopyInto, which has another index in NumPy 2."""
    array = np.arange(3 * 5 * 7, dtype="float64").reshape(3, 5, 7)
    for view in (array.transpose(2, 0, 1), array[::2, ::-1], np.broadcast_to(array[0], (4, 5, 7))):
        assert (jt.array(view).numpy() == view).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.float32])
def test_a_numpy_number_is_an_index(dtype):
    """As published, Jittor gives NumPy an incomplete description of the type int32."""
    x = jt.arange(35).reshape((5, 7))
    assert (x[dtype(3)].numpy() == np.arange(21, 28)).all() and x[dtype(4), dtype(6)].item() == 34
    if dtype is not np.float32:
        assert (x[dtype(1) : dtype(3)].numpy() == np.arange(7, 21).reshape(2, 7)).all()
    if np.dtype(dtype).kind == "i":
        assert (x[dtype(-1)].numpy() == np.arange(28, 35)).all()


SOURCE = """
#include "common.h"
namespace jittor {
// @pyjt(ccnet_add)
inline int64 ccnet_add(int64 a, int64 b) { return a + b; }
}"""


def test_a_module_that_jittor_compiles_is_found():
    """Python 3.13 does not show it in locals(). The operators of oneDNN go through the other place at import."""
    assert jittor_utils.compile_module(SOURCE, jt.compiler.cc_flags).ccnet_add(3, 4) == 7
    assert jt.compile_extern.mkl_ops is None or jt.compile_extern.mkl_ops.mkl_conv


def test_processes_are_forked():
    """Python 3.14 would start them by a server. A start method that the program chose is kept."""
    assert multiprocessing.get_start_method() == "fork"
    code = "import multiprocessing as mp; mp.set_start_method('spawn'); import jittor; print(mp.get_start_method())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("spawn"), done.stdout + done.stderr
