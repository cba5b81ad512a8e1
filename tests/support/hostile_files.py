"""Files of weights that are damaged or hostile, and the reason for which each must be refused."""

import json
import struct
import zipfile

import numpy as np
from support import handmade as hand

from utils.weights.formats import safetensors


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
    """`data` with one of seven sorts of damage."""
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
    """Pickles that run commands, nest deeply, or claim too much memory; byte by byte, as no pickler writes them."""
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
    yield "long number", b"\x8b" + struct.pack("<i", 2**31 - 1), "an integer of"
    yield "big storage", hand.mapping({"w": hand.tensor("0", (many,))}), "claims 1,000,000,000,000 elements"
    yield "big shape", hand.mapping({"w": hand.tensor("0", (many,), strides=(0,), count=2)}), "claims"
    yield "big view", hand.mapping({"w": hand.tensor("0", (3,), count=2)}), "exceeds its storage"
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
        if words and "." in words and name != "inside":  # refused by name, in the other formats too
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
    hand.jittor_file(
        folder / "bomb_shape.pkl", hand.mapping({"w": array.replace(hand.integers(2), hand.integers(10**12))})
    )
    expected.update(
        {
            "bomb_protocol0.pth": "os.system",
            "bomb_big_endian.pth": "big-endian",
            "bomb_compressed.pth": "compressed",
            "bomb_script.pth": "TorchScript",
            "bomb_short_storage.pth": "another length than recorded",
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
        ("big", b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}', "truncated"),
        ("gap", b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', "damaged"),
        ("twice", b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{}}', "twice"),
        ("type", b'{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}', "F8_E4M3"),
        ("list", b'{"a":[]}', "damaged"),
        ("short", b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "after the last"),
    ):
        path = folder / f"bomb_{name}.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
        expected[path.name] = words
    path = folder / "bomb_header.safetensors"
    path.write_bytes(struct.pack("<Q", 10**12) + b"{" + bytes(8))
    expected[path.name] = "not a checkpoint"
    return expected
