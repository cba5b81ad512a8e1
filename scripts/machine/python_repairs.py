"""The repairs for NumPy 2, for Python 3.13 and 3.14, and for g++ 16. With older versions Jittor does what it did.

NumPy 2 moved the size of an array's elements in its description of a type, its C module and one entry of its table of
functions. Which NumPy is there is decided when Jittor is imported, so one build serves both. Python 3.13 no longer
shows the result of exec() in locals() (PEP 667), and Python 3.14 starts processes by a server instead of a fork, which
cannot pass on what Jittor's compile processes and dataset workers need.
"""

from scripts.machine.compiler_repairs import between, everywhere

DESCRIPTION = """    int type_num;
    int elsize;
    int alignment;
    char* subarray;
    PyObject *fields;
    PyObject *names;
};
"""
BOTH_DESCRIPTIONS = """    int type_num;
    int elsize_1, alignment_1;  // NumPy 1; in NumPy 2 these are 64 bits of flags, and the size of an element follows
    Py_ssize_t elsize_2;
};
"""
SIZE = "    size *= arr->descr->elsize;\n"
EITHER_SIZE = "    size *= is_numpy_2() ? arr->descr->elsize_2 : arr->descr->elsize_1;\n"
VERSION = "EXTERN_LIB unsigned int (*PyArray_GetNDArrayCFeatureVersion)();\n"
IS_NUMPY_2 = "inline bool is_numpy_2() { return PyArray_GetNDArrayCFeatureVersion() >= 0x12; }\n"

IMPORT = """    PyObjHolder np(PyImport_ImportModule("numpy.core.multiarray"), "numpy is not installed");
"""
IMPORT_EITHER = """    PyObject* multiarray = PyImport_ImportModule("numpy._core.multiarray");  // since NumPy 1.26
    if (!multiarray) {
        PyErr_Clear();
        multiarray = PyImport_ImportModule("numpy.core.multiarray");
    }
    PyObjHolder np(multiarray, "numpy is not installed");
"""

# The published code gives NumPy a description of which only one field is filled in; NumPy 2 reads the others as well.
CAST = """        PyArrayDescr_Proxy array_descr;
        array_descr.type_num = 5; // 5: int32
        int value;
        PyArray_CastScalarToCtype(obj, &value, &array_descr);
        var_slice->set_int(value);
"""
AS_INTEGER = """        PyObjHolder integer(PyNumber_Long(obj));
        var_slice->set_int(PyLong_AsLong(integer.obj));
"""

FORK = """if platform.system() == 'Darwin':
    mp.set_start_method('fork')
"""
FORK_BY_DEFAULT = """if platform.system() == 'Darwin' or (
    platform.system() == 'Linux' and sys.version_info >= (3, 14) and mp.get_start_method(allow_none=True) is None
):
    mp.set_start_method('fork')
"""

# as in repairs.py
REPAIRS = (
    (
        "numpy-2",
        "arrays of NumPy 1 and of NumPy 2",
        everywhere,
        [
            (
                "src/pyjt/numpy.h",
                [
                    (DESCRIPTION, BOTH_DESCRIPTIONS, 1),
                    (VERSION + "EXTERN", VERSION + IS_NUMPY_2 + "EXTERN", 1),
                    (SIZE, EITHER_SIZE, 1),
                ],
            ),
            (
                "src/pyjt/numpy.cc",
                [
                    (IMPORT, IMPORT_EITHER, 1),
                    ("fill(PyArray_CopyInto, 82);", "fill(PyArray_CopyInto, is_numpy_2() ? 50 : 82);", 1),
                ],
            ),
            ("src/pyjt/py_converter.h", [(CAST, AS_INTEGER, 1)]),
        ],
        [],
    ),
    (
        "python-3.13",
        "Python 3.13: modules that Jittor compiles are found after their import",
        everywhere,
        [
            ("compiler.py", [("mod = locals()[gen_name]", "mod = sys.modules[gen_name]", 1)]),
            ("../jittor_utils/__init__.py", [("mod = locals()[hash]", "mod = sys.modules[hash]", 1)]),
        ],
        [],
    ),
    (
        "python-3.14",
        "Python 3.14: processes of Jittor are forked, as before",
        everywhere,
        [("../jittor_utils/__init__.py", [(FORK, FORK_BY_DEFAULT, 1)])],
        [],
    ),
    (
        "g++-16",
        "recent versions of g++: the header of uint32_t is included, and no missing member is used",
        everywhere,
        [
            ("src/types.h", [between("#include <memory>\n", "#include <cstdint>\n", "\nnamespace jittor")]),
            ("src/misc/stack_vector.h", [("return self->at(index);", "return self->a[index];", 1)]),
        ],
        [],
    ),
)
