"""The repair that makes `import jittor` quicker: it does not check its own build at each import.

As published, each import generates the bindings of Jittor's core again from its headers, starts a pool of processes,
and compares the hashes of all sources with those of the last build: two thirds of the time of an import. With the
repair the names, sizes and times of the sources are compared instead, and only a difference leads to the published way.
"""

from scripts.machine.compiler_repairs import between, everywhere

# Into pyjt_compiler.py, which compiler.py imports.
RECORDS = """import hashlib

source_states = {}

def source_state(jittor_path):
    '''What a build of Jittor depends on: name, size and time of each source'''
    if jittor_path not in source_states:
        files = glob.glob(jittor_path + "/*compile*.py")
        for folder in ("src", "extern"):
            for root, _, names in os.walk(os.path.join(jittor_path, folder)):
                files += [os.path.join(root, name) for name in names if name.endswith((".h", ".cc", ".cu", ".cuh"))]
        states = [(name, os.stat(name)) for name in sorted(files)]
        source_states[jittor_path] = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
    return source_states[jittor_path]

def build_record(jittor_path, cache_path, inputs, *parts):
    '''A text that changes with the sources and with the commands; None for a build of other sources'''
    own = [name for name in inputs if name.startswith(jittor_path)]
    generated = [name for name in inputs if name.startswith(cache_path)]
    if len(own) + len(generated) != len(inputs) or (inputs and not own):
        return None
    texts = []
    for name in generated:
        with open(name, "rb") as f:
            texts.append(f.read())
    state = (source_state(jittor_path), inputs, texts, parts)
    return hashlib.sha256(repr(state).encode()).hexdigest()

def output_record(output, record):
    state = os.stat(output)
    return f"{record} {state.st_size} {state.st_mtime_ns}"

def is_built(output, record):
    try:
        with open(output + ".record") as f:
            return f.read() == output_record(output, record)
    except OSError:
        return False

def write_record(path, text):
    part = f"{path}.{os.getpid()}.part"
    with open(part, "w") as f:
        f.write(text)
    os.replace(part, path)

"""
READ_NAMES = """    record = build_record(jittor_path, cache_path, [], sorted(headers2))
    record_path = os.path.join(cache_path, "gen", "names.record")
    try:
        with open(record_path) as f:
            saved, names = json.load(f)
        if saved == record and all(map(os.path.isfile, names)):
            return names
    except (OSError, ValueError):
        pass
"""
WRITE_NAMES = "    write_record(record_path, json.dumps([record, pyjt_names]))\n"

IS_BUILT = """    commands = [cmds, flags, lto_flags, ex_obj_files]
    record = pyjt_compiler.build_record(jittor_path, cache_path, inputs, commands)
    if record and pyjt_compiler.is_built(output, record):
        return False
"""
LINK = """{' '.join(cms(obj_files))} -o {cm(output)} {flags} {lto_flags}"
    return do_compile(fix_cl_flags(cmd))
"""
LINK_AND_RECORD = """{' '.join(cms(obj_files))} -o {cm(output)} {flags} {lto_flags}"
    ran = do_compile(fix_cl_flags(cmd))
    if record:
        pyjt_compiler.write_record(output + ".record", pyjt_compiler.output_record(output, record))
    return ran
"""

# as in repairs.py
REPAIRS = (
    (
        "quick-import",
        "Jittor starts in half the time: it builds its core again only if a source has another size or time",
        everywhere,
        [
            (
                "pyjt_compiler.py",
                [
                    between("import glob\n", RECORDS, "\ndef parse"),
                    between("    headers = headers1 + headers2\n", READ_NAMES, "    basenames = []\n"),
                    between("    pyjt_names.append(fname)\n", WRITE_NAMES, "    return pyjt_names"),
                ],
            ),
            (
                "compiler.py",
                [
                    between(
                        "        cmds.append(cmd)\n",
                        IS_BUILT,
                        "    jit_utils.run_cmds(cmds, cache",
                    ),
                    (LINK, LINK_AND_RECORD, 1),
                ],
            ),
        ],
        [],
    ),
)
