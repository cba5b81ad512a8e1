"""Damaged and hostile files of weights: each gives one error line or the right arrays; nothing runs, nothing swells.

They are read by a process of their own with 1 GB to spend above what it holds at the start, under an audit hook that
notes every way in which Python starts code. Damage is drawn from a fixed seed.
"""

import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support import handmade as hand

from utils.weights.formats import safetensors

READER = """
import json, os, resource, sys, time
from utils import runtime
runtime.start("cpu", quiet=False)
import numpy as np
from utils.weights import any_file, names as keys
keys.layout = lambda arrays: "official"  # any names will do here
any_file.describe = lambda arrays, notes: {}
folder, started = sys.argv[1], []
names = sorted(os.listdir(folder))
for name in names:
    if name.startswith("good"):
        any_file.read(os.path.join(folder, name), "plain")
bad = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "exec", "pickle.find_class", "import")
sys.addaudithook(lambda event, _: started.append(event) if event in bad else None)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (1 << 30), held + (1 << 30)))
for name in names:
    del started[:]
    begun, path = time.time(), os.path.join(folder, name)
    try:
        arrays, _ = any_file.read(path, "plain")
        said = {key: [list(array.shape), float(np.nan_to_num(array).sum())] for key, array in arrays.items()}
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
    print(json.dumps([name, said, started, round(time.time() - begun, 2)]), flush=True)
"""


def good_files(folder):
    a, b = np.arange(1, 25, dtype="<f4"), np.arange(7, dtype="<f4") / 8
    values = {"head.a": a.reshape(2, 3, 4), "head.b": b}

    def body(legacy):
        tensors = {
            "head.a": hand.tensor("0", (2, 3, 4), legacy=legacy),
            "head.b": hand.tensor("1", (7,), legacy=legacy),
        }
        return hand.mapping({"epoch": hand.number(3), "state_dict": hand.mapping(tensors)})

    hand.zip_file(folder / "good_zip.pth", body(False), {"0": a, "1": b})
    hand.legacy_file(folder / "good_legacy.pth", body(True), {"0": a, "1": b})
    unsigned = hand.mapping({key: hand.array(value) for key, value in values.items()})
    hand.jittor_file(folder / "good_unsigned.pkl", unsigned, signed=False)
    hand.jittor_file(folder / "good_signed.pkl", unsigned)
    safetensors.save(folder / "good.safetensors", values, {"format": "np"})
    meta = {"model": "ccnet_r18", "num_classes": 9, "recurrence": 2, "ignore_label": 255, "normalisation": {}}
    np.savez(folder / "good.npz", **values, __meta__=np.array(json.dumps(meta)))
    return sorted(folder.glob("good*"))


def damaged(data, rng):
    """One of seven ways in which a file goes wrong."""
    data, size = bytearray(data), len(data)
    first, last = sorted(rng.integers(0, size + 1, 2))
    way = rng.integers(7)
    if way == 0:
        return data[: rng.integers(1, size)]
    if way == 1:
        data[rng.integers(size)] ^= 1 << rng.integers(8)
    elif way == 2:
        data[rng.integers(size)] = rng.choice([0, 0x7F, 0x80, 0xFF])
    elif way == 3:
        del data[first : min(last, first + 40)]
    elif way == 4:
        data[first:first] = rng.bytes(int(rng.integers(1, 40)))
    elif way == 5:
        data[first : first + 8] = struct.pack("<Q", rng.choice([2**31 - 1, 2**32, 10**12, 2**63 - 1]))
    else:
        data[first:last] = bytes(last - first)
    return data


def bombs(folder):
    """Pickles that want to run something, go deep, or claim the world; by hand, since no pickler would write them."""
    ran = hand.text(f"touch {folder / 'ran'}")
    system = hand.refer("os", "system") + hand.several(ran) + b"R"
    evaluate = hand.call("builtins", "eval", hand.text(f"open({str(folder / 'ran')!r}, 'w')"))
    named = b"\x8c\x05posix\x8c\x06system\x93" + hand.several(ran) + b"R"
    model = hand.refer("__main__", "Net") + b")\x81" + hand.mapping({}) + b"b"
    getter = hand.call("builtins", "getattr", hand.refer("torch", "FloatStorage"), hand.text("mro"))
    many = 10**12
    yield "system", system, "os.system"
    yield "eval", evaluate, "builtins.eval"
    yield "exec", hand.call("__builtin__", "exec", ran), "builtins.exec"
    yield "named", named, "posix.system"
    yield "inside", hand.mapping({"w": hand.tensor("0", (2,)), "x": system}), "os.system"
    yield "object", hand.mapping({"model": model}), "__main__.Net"
    yield "getattr", getter, "builtins.getattr"
    yield "codec", hand.call("_codecs", "decode", ran), "_codecs.decode"
    yield "numpy", hand.call("numpy", "load", ran), "numpy.load"
    yield "subclass", hand.call("torch.storage", "_load_from_bytes", ran), "torch.storage._load_from_bytes"
    yield "pop", system + b"0" + hand.mapping({}), "os.system"
    yield "inst", b"(" + ran + b"ios\nsystem\n", "os.system"
    yield "partial", hand.refer("functools", "partial") + b")R", "functools.partial"
    yield "extension", b"\x82\x01", "opcode"
    yield "text persistent", b"P0\n", "opcode"
    yield "tuple in tuple", b")" + b"\x85" * 300_000, "nested"
    yield "list in list", b"]" * 200_000 + b"a" * 199_999, "nested"
    yield "dict in dict", b"}" + (b"X\1\0\0\0a}" * 100_000) + b"s" * 100_000, "nested"
    yield "list in itself", b"]q\0h\0a", "itself"
    yield "deep key", b"}" + b")" + b"\x85" * 300_000 + b"Ns", "dict key"
    yield (
        "laughs",
        b"]q\0" + b"".join(b"](" + b"h%c" % n * 10 + b"eq%c" % (n + 1) for n in range(90)),
        "expected a dict",
    )
    yield "steps", b"N" * 2_100_000, "steps"
    yield "marks", b"(" * 2_100_000, "steps"
    yield "memo", b"Nr\xff\xff\xff\xff" + hand.mapping({}), "no tensors"
    yield "long string", b"X\xff\xff\xff\xff", "ends early"
    yield "long bytes", b"\x8e" + struct.pack("<Q", many), "ends early"
    yield "long frame", b"\x95" + struct.pack("<Q", many), "damaged"
    yield "long number", b"\x8b" + struct.pack("<i", 2**31 - 1), "whole number"
    yield "big storage", hand.mapping({"w": hand.tensor("0", (many,))}), "claims 1,000,000,000,000 elements"
    yield "big shape", hand.mapping({"w": hand.tensor("0", (many,), strides=(0,), count=2)}), "claims"
    yield "big view", hand.mapping({"w": hand.tensor("0", (3,), count=2)}), "leaves its storage"
    yield "negative", hand.mapping({"w": hand.tensor("0", (2,), strides=(-1,), count=2)}), "count is expected"
    yield "before", hand.mapping({"w": hand.tensor("0", (2,), offset=-1, count=2)}), "count is expected"
    yield "overflow", hand.mapping({"w": hand.tensor("0", (2**40, 2**40), strides=(0, 0), count=2)}), "claims"
    nothing = hand.tensor("0", (0, 2**40, 2**40), strides=(0, 0, 0), count=2)
    yield "nothing", hand.mapping({"w": nothing}), ""
    yield "many", hand.mapping({f"w{n}": hand.tensor("0", (2,)) for n in range(5000)}), None
    yield "no storage", hand.mapping({"w": hand.tensor("7", (2,))}), "data/7"
    yield "line", hand.mapping({"a\nb": hand.tensor("0", (2,))}), "names of parameters"
    yield "number key", b"}(" + hand.number(1) + hand.tensor("0", (2,)) + b"u", "names of parameters"
    yield "no dict", hand.tensor("0", (2,)), "expected a dict"


def write_bombs(folder):
    expected = {}
    for name, body, words in bombs(folder):
        name = name.replace(" ", "_")
        hand.zip_file(folder / f"bomb_{name}.pth", body, {"0": np.float32([1, 2])})
        expected[f"bomb_{name}.pth"] = words
        if words and "." in words and name != "inside":  # refusals by name, in the other formats too
            hand.legacy_file(folder / f"bomb_{name}_legacy.pth", body, {})
            hand.jittor_file(folder / f"bomb_{name}.pkl", body)
            expected[f"bomb_{name}_legacy.pth"] = expected[f"bomb_{name}.pkl"] = words
    two = {"0": np.float32([1, 2])}
    w = hand.mapping({"w": hand.tensor("0", (2,))})
    (folder / "bomb_protocol0.pth").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    hand.zip_file(folder / "bomb_big_endian.pth", w, two, byteorder=b"big")
    hand.zip_file(folder / "bomb_compressed.pth", w, {"0": np.zeros(2, "f4")}, compression=zipfile.ZIP_DEFLATED)
    hand.zip_file(folder / "bomb_script.pth", w, two, more={"constants.pkl": b"N."})
    hand.zip_file(folder / "bomb_short_storage.pth", w, {"0": np.float32([1])})
    hand.legacy_file(folder / "bomb_big_endian_legacy.pth", w, two, little=b"\x89")
    hand.legacy_file(folder / "bomb_version.pth", w, two, version=1002)
    array = hand.array(np.float32([1, 2]))
    hand.jittor_file(folder / "bomb_objects.pkl", hand.mapping({"w": array.replace(hand.text("f4"), hand.text("O8"))}))
    hand.jittor_file(folder / "bomb_other_end.pkl", hand.mapping({"w": array.replace(hand.text("<"), hand.text(">"))}))
    hand.jittor_file(folder / "bomb_shape.pkl", hand.mapping({"w": array.replace(hand.whole(2), hand.whole(10**12))}))
    expected.update(
        {
            "bomb_protocol0.pth": "os.system",
            "bomb_big_endian.pth": "big-endian",
            "bomb_compressed.pth": "compressed",
            "bomb_script.pth": "TorchScript",
            "bomb_short_storage.pth": "length announced",
            "bomb_big_endian_legacy.pth": "big-endian",
            "bomb_version.pth": "unknown version",
            "bomb_objects.pkl": "expected numbers",
            "bomb_other_end.pkl": "big-endian",
            "bomb_shape.pkl": "damaged",
        }
    )
    for name, header, words in (
        ("deep", b'{"a":' + b"[" * 100_000, "nested"),
        ("deep_dict", b'{"a":' * 300_000, "nested"),
        ("digits", b'{"a":{"dtype":"F32","shape":[' + b"9" * 100_000 + b'],"data_offsets":[0,8]}}', "digits"),
        ("big", b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}', "cut short"),
        ("gap", b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', "damaged"),
        ("twice", b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{}}', "twice"),
        ("type", b'{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}', "F8_E4M3"),
        ("list", b'{"a":[]}', "damaged"),
        ("short", b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "behind the last"),
    ):
        path = folder / f"bomb_{name}.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
        expected[path.name] = words
    path = folder / "bomb_header.safetensors"
    path.write_bytes(struct.pack("<Q", 10**12) + b"{" + bytes(8))
    expected[path.name] = "not a checkpoint"
    return expected


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(20)
    for path in good_files(folder):
        data = path.read_bytes()
        for n in range(60):
            (folder / f"damaged_{n:02}_{path.name}").write_bytes(damaged(data, rng))
        for n, size in enumerate(range(1, len(data), max(len(data) // 20, 1))):
            (folder / f"damaged_cut{n:02}_{path.name}").write_bytes(data[:size])
    expected = write_bombs(folder)
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", READER, str(folder)], capture_output=True, text=True, cwd=root, timeout=300
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert done.returncode == 0 and len(lines) == len(list(folder.iterdir())), done.stdout[-500:] + done.stderr[-2000:]
    return folder, expected, {name: (said, started, seconds) for name, said, started, seconds in lines}


def test_over_200_files_are_tried_and_the_good_ones_read(outcomes):
    _, _, said = outcomes
    assert sum(not name.startswith("good") for name in said) > 400
    for name in said:
        if name.startswith("good"):
            assert said[name][0] == {"head.a": [[2, 3, 4], 300.0], "head.b": [[7], 2.625]}, name


def test_nothing_is_executed(outcomes):
    folder, _, said = outcomes
    assert not (folder / "ran").exists()
    assert not {name: started for name, (_, started, _) in said.items() if started}


def test_each_ends_in_one_line_or_in_the_right_arrays(outcomes):
    folder, _, said = outcomes
    for name, (text, _, _) in said.items():
        if isinstance(text, str):
            assert text.startswith(str(folder / name)) and "\n" not in text and len(text) < 700, (name, text)
        elif name == "bomb_many.pth":
            assert len(text) == 5000
        elif "zip" in name or name.endswith(("_signed.pkl", ".npz")):  # these have check sums: nothing false passes
            assert text == said["good.npz"][0], (name, text)
        else:
            assert len(text) <= 2, (name, text)  # without check sums a changed number is a number


def test_each_hostile_file_is_refused_for_its_reason(outcomes):
    _, expected, said = outcomes
    for name, words in expected.items():
        if words:
            assert isinstance(said[name][0], str) and words in said[name][0], (name, said[name][0])


def test_none_takes_long(outcomes):
    _, _, said = outcomes
    slow = {name: seconds for name, (_, _, seconds) in said.items() if seconds > 20}
    assert not slow


def test_the_script_answers_in_one_line(outcomes, run_command, tmp_path):
    folder, _, _ = outcomes
    done = run_command("python", "scripts/convert_weights.py", folder / "bomb_system.pth", tmp_path / "a.npz")
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert (
        len(done.stderr.strip().splitlines()) == 1 and "'os.system'" in done.stderr and "Traceback" not in done.stderr
    )
