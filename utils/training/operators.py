"""One operator for many parameters: src/optimizer.h on all threads of the CPU, src/optimizer.cuh on a GPU.

Jittor computes each parameter by operators of its own. Here up to `group()` parameters go into one; a group that is not
full repeats its last one without computing it, so one compiled operator serves all networks. Float32 only: `supported`.
"""

from pathlib import Path

import jittor as jt

SRC = Path(__file__).resolve().parent / "src"
CPU_HEADER, CUDA_HEADER = (
    "".join(f'#include "{SRC / file}"\n' for file in ("step_control.h", name))
    for name in ("optimizer.h", "optimizer.cuh")
)
FIELDS = ("p", "g", "values", "m")


def group():
    """Parameters of one operator. On a GPU each is a launch, whose arguments have room for 48."""
    return 48 if jt.flags.use_cuda else 16


def supported(*lists):
    return all(v.dtype == "float32" for values in lists for v in values)


def cuda_source(source):
    return {"cuda_header": CUDA_HEADER, "cuda_src": source}


def launch(shapes, dtypes, inputs, source, numbers):
    """The same C++ for both devices; `numbers`: data["name"] in it. -> list of Vars"""
    sources = {"cpu_header": CPU_HEADER, "cpu_src": source, **cuda_source(source)}
    data = {name: float(value) for name, value in numbers.items()}
    results = jt.code(shapes, dtypes, inputs, data=data, **sources)
    return list(results) if isinstance(results, (list, tuple)) else [results]


def call(lists, new, source, inputs=(), outputs=(), **numbers):
    """One operator for at most `group()` parameters.

    `lists`: {field: Vars that are read}; `new`: {field: shapes that are written}; `inputs`, `outputs`: {name: Var} and
    {name: (shape, dtype)} besides. `source`: C++ with {name} for their pointers.
    -> {field: new Vars}, {name: Var}
    """
    size, inputs, outputs = group(), dict(inputs), dict(outputs)
    used = len(next(iter({**lists, **new}.values())))
    read = [v.reshape((-1,)) for values in lists.values() for v in padded(list(values), size, values[-1])]
    shapes = [shape for each in new.values() for shape in padded(list(each), size, (1,))]
    pointers = {name: f"in{len(read) + k}_p" for k, name in enumerate(inputs)}
    pointers.update({name: f"out{len(shapes) + k}_p" for k, name in enumerate(outputs)})
    results = launch(
        [*shapes, *(shape for shape, _ in outputs.values())],
        ["float32"] * len(shapes) + [dtype for _, dtype in outputs.values()],
        [*read, *inputs.values()],
        table(list(lists), list(new), size) + source.format(**pointers),
        {"used": used, **numbers},
    )
    values = {name: results[k * size : k * size + used] for k, name in enumerate(new)}
    return values, dict(zip(outputs, results[len(shapes) :]))


def padded(values, size, filling):
    return values + [filling] * (size - len(values))


def table(lists, new, size):
    """C++ for `all`, the arrays of each parameter, and `count`."""
    rows = []
    for k in range(size):
        reads = [f"in{lists.index(name) * size + k}_p" if name in lists else "nullptr" for name in FIELDS]
        writes = [f"out{new.index(name) * size + k}_p" if name in new else "nullptr" for name in FIELDS]
        rows.append(f"{{{'in' if lists else 'out'}{k}->num, {', '.join([*reads, writes[0], *writes[2:]])}}}")
    return f'optimizer::Parameter all[] = {{{", ".join(rows)}}};\nconst int count = data["used"];\n'


def groups_of(values):
    return [values[first : first + group()] for first in range(0, len(values), group())]


def over_groups(lists, new, source, inputs=(), **numbers):
    """Calls `source` for all parameters. `new`: fields that get a new value. -> {field: new Vars}"""
    results = {name: [] for name in new}
    for part in zip(*map(groups_of, lists.values())):
        picked = dict(zip(lists, part))
        shapes = {name: [(v.numel(),) for v in picked[name]] for name in new}
        for name, values in call(picked, shapes, source, inputs, **numbers)[0].items():
            results[name] += [v.reshape(old.shape) for v, old in zip(values, picked[name])]
    return results
