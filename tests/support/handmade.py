"""Files of weights written byte by byte, without PyTorch and pickle, so that anything in them can be wrong."""

import hashlib
import struct
import zipfile

import numpy as np

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def text(string):
    return b"X" + struct.pack("<I", len(string.encode())) + string.encode()


def number(value):
    return b"J" + struct.pack("<i", value) if -(1 << 31) <= value < 1 << 31 else b"\x8a\x08" + struct.pack("<q", value)


def several(*parts):
    return b"(" + b"".join(parts) + b"t"


def integers(*numbers):
    return several(*map(number, numbers))


def refer(module, name):
    return f"c{module}\n{name}\n".encode()


def call(module, name, *arguments):
    return refer(module, name) + several(*arguments) + b"R"


def mapping(items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def pickle(body):
    return b"\x80\x02" + body + b"."


def storage(cls, key, count, legacy=False):
    parts = [text("storage"), refer("torch", cls), text(key), text("cpu"), number(count)]
    return several(*parts, *([b"N"] if legacy else [])) + b"Q"


def tensor(key, shape, storage_class="FloatStorage", strides=None, offset=0, count=None, legacy=False):
    count = int(np.prod(shape)) if count is None else count
    if strides is None:
        strides = [int(np.prod(shape[n + 1 :])) for n in range(len(shape))]
    parts = [number(offset), integers(*shape), integers(*strides), b"\x89", call("collections", "OrderedDict")]
    return call("torch._utils", "_rebuild_tensor_v2", storage(storage_class, key, count, legacy), *parts)


def zip_file(path, body, storages, byteorder=b"little", more=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        members = {"data.pkl": pickle(body), "byteorder": byteorder, "version": b"3\n"}
        members.update({f"data/{key}": np.asarray(value).tobytes() for key, value in storages.items()})
        for name, content in {**members, **dict(more)}.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content, compression)
    return path


def legacy_file(path, body, storages, little=b"\x88", version=1001):
    machine = mapping({"protocol_version": number(1001), "little_endian": little})
    head = MAGIC + pickle(number(version)) + pickle(machine) + pickle(body)
    keys = pickle(b"](" + b"".join(map(text, storages)) + b"e")
    tail = b"".join(struct.pack("<q", np.size(value)) + np.asarray(value).tobytes() for value in storages.values())
    path.write_bytes(head + keys + tail)
    return path


def array(value):
    """A numpy array as in a .pkl of Jittor."""
    value = np.ascontiguousarray(value)
    empty = call("numpy.core.multiarray", "_reconstruct", refer("numpy", "ndarray"), integers(0), b"C\x01b")
    dtype = call("numpy", "dtype", text(value.dtype.str[1:]), b"\x89", b"\x88")
    dtype += several(number(3), text(value.dtype.str[0]), b"N", b"N", b"N", number(-1), number(-1), number(0)) + b"b"
    data = b"B" + struct.pack("<I", value.nbytes) + value.tobytes()
    return empty + several(number(1), integers(*value.shape), dtype, b"\x89", data) + b"b"


def jittor_file(path, body, signed=True):
    data = b"\x80\x04" + body + b"."
    path.write_bytes(data + hashlib.sha1(data).digest() + b"HCAJSLHD" if signed else data)
    return path
