"""Files of PyTorch (.pth, .pt, .pth.tar, .bin; zip and legacy format) and Jittor (.pkl), without either library.

    load(path)       -> what was saved: dicts, lists, tuples, numbers, strings; tensors as numpy arrays
    read(data)       -> the same, from the bytes of the file, as formats.mapped returns them
    save(path, tree) -> the zip format, which torch.load(path, weights_only=True) opens

Arrays are read-only views of the mapped file: a checkpoint of 270 MB costs no second copy. Nothing in the file is
executed (see pickles.py), sizes are checked against the file before anything is allocated, and the checksums of the zip
format and of Jittor are verified. bfloat16, which numpy lacks, is returned as float32, value for value.
"""

import hashlib
import re
import struct
import zipfile
import zlib

from utils.weights.formats import mapped
from utils.weights.formats.pickled_arrays import Array, Element, Storage, Tensor, count_of, table
from utils.weights.formats.pickles import SCALARS, Unreadable
from utils.weights.formats.pickles import load as unpickle
from utils.weights.formats.pytorch_write import save

__all__ = ["is_legacy", "is_zip", "load", "read", "save"]

MAGIC = 0x1950A86A20F9469CFC6C  # PyTorch's legacy files begin with it
JITTOR_END = b"HCAJSLHD"  # after a pickle and its SHA-1, 28 bytes in all
PROTOCOL = 1001
ANCIENT = re.compile(rb"\(*[ci][\w.]+\n[\w.]+\n")  # a pickle of protocol 0 that begins with a global: it is named
DEPTH = 100  # containers within containers


def load(path):
    """`read` of a file. Whatever is wrong with it is one ValueError that begins with the path."""
    data = mapped(path)
    try:
        return read(data)
    except ValueError as error:  # Unreadable, or numpy's
        raise ValueError(f"{path}: {error}") from None


def read(data):
    if is_zip(data):
        return read_zip(data)
    if data[:1] == b"\x80" or ANCIENT.match(data[:512]):
        return read_legacy(data) if is_legacy(data) else read_pickle(data)
    raise Unreadable(f"not a checkpoint: {what_else(data)}")


def is_zip(data):
    return data[:4] == b"PK\3\4"


def what_else(data):
    """What a file is that has the name of a checkpoint and holds no weights."""
    head = data[:512].tobytes()
    if head.lstrip()[:1] == b"<":
        return "it is a web page, not weights; the download failed"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the weights; `git lfs pull` fetches them"
    if head[257:262] == b"ustar":
        return "it is a tar archive; unpack it, or, if PyTorch before 0.2 wrote it, save it again with a newer version"
    return "its first bytes match no supported format (PyTorch zip or legacy, Jittor pickle, safetensors, .npz)"


# PyTorch since 1.6: an uncompressed zip of <name>/data.pkl, <name>/byteorder and <name>/data/<key>.


def read_zip(data):
    try:
        infos = zipfile.ZipFile(data.obj).infolist()  # data.obj: the mapped file
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, OverflowError, struct.error):
        raise Unreadable("a zip file without its end: truncated or damaged; download or copy it again") from None
    members = {info.filename: info for info in infos}
    tops = [name[: -len("data.pkl")] for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(tops) != 1 or len(members) != len(infos):
        raise Unreadable(f"a zip file with {len(tops)} data.pkl; a PyTorch file has one, and no name twice")
    top = tops[0]
    if top + "constants.pkl" in members:
        raise Unreadable("a TorchScript program, not weights; save the model's state_dict() instead")

    def member(name):
        if top + name not in members:
            raise Unreadable(f"it has no {name[:60]!r}: truncated or damaged")
        return zip_member(data, members[top + name])

    if top + "byteorder" in members and member("byteorder") != b"little":
        raise Unreadable("written on a big-endian machine; save it again on a little-endian one")
    storages = Storages(len(data))

    def persistent(name):
        _, element, key, _, count = name
        return storages.storage(element, key, count, lambda: member(f"data/{key}"))

    tree, _ = unpickle(member("data.pkl"), table(storages.tensor), persistent=persistent)
    return plain(tree, storages)


def zip_member(data, info):
    """The bytes of an uncompressed member, its checksum verified."""
    if info.compress_type or info.flag_bits & 1 or info.compress_size != info.file_size:
        raise Unreadable(f"{info.filename!r} is compressed or encrypted, unlike PyTorch's; repack it uncompressed")
    header = data[info.header_offset : info.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise Unreadable(f"{info.filename!r} is not at the place that the zip file records: damaged")
    start = info.header_offset + 30 + sum(struct.unpack("<2H", header[26:]))
    if start + info.file_size > len(data):
        raise Unreadable(f"{info.filename!r} extends beyond the end of the file: truncated")
    body = data[start : start + info.file_size]
    if zlib.crc32(body) != info.CRC:
        raise Unreadable(f"{info.filename!r} does not match its checksum: damaged; download or copy it again")
    return body


# PyTorch before 1.6: five pickles (magic number, version, machine, tree, keys), then each storage as an int64 count and
# its bytes.


def is_legacy(data):
    return MAGIC.to_bytes(10, "little") in data[:32].tobytes()


def read_legacy(data):
    magic, at = unpickle(data, {})
    version, at = unpickle(data, {}, at)
    machine, at = unpickle(data, {}, at)
    if magic != MAGIC or version != PROTOCOL or type(machine) is not dict:
        raise Unreadable("a PyTorch file of an unknown version")
    if machine.get("little_endian") is not True:
        raise Unreadable("written on a big-endian machine; save it again on a little-endian one")
    storages = Storages(len(data))

    def persistent(name):
        _, element, key, _, count, view = name
        storage = storages.storage(element, key, count)
        return storage if view is None else storages.view(storage, *view)

    tree, at = unpickle(data, table(storages.tensor), at, persistent)
    keys, at = unpickle(data, {}, at)
    if type(keys) is not list or any(type(key) not in (str, int) for key in keys):
        raise Unreadable("its list of storages is damaged")
    if sorted(map(str, keys)) != sorted(storages.known):
        raise Unreadable("its list of storages does not match its tensors: damaged")
    for storage in (storages.known[str(key)] for key in keys):
        end = at + 8 + storage.bytes
        if end > len(data) or struct.unpack("<q", data[at : at + 8])[0] != storage.count:
            raise Unreadable("a storage has another length than recorded: truncated or damaged")
        storage.data, at = data[at + 8 : end], end
    return plain(tree, storages)


def read_pickle(data):
    """Jittor: one pickle of numpy arrays or Vars, with a checksum or, in older files, without."""
    if data[-8:] == JITTOR_END:
        if hashlib.sha1(data[:-28]).digest() != data[-28:-8]:
            raise Unreadable("it does not match its SHA-1: damaged; download or copy it again")
        data = data[:-28]
    storages = Storages(len(data))
    tree, end = unpickle(data, table(storages.tensor))
    if end != len(data):
        raise Unreadable(f"{len(data) - end} bytes after the pickle: the file is damaged, or Jittor did not write it")
    return plain(tree, storages)


class Storages:
    """The storages of one file, and the bytes that all its tensors together may claim: some share, up to a limit."""

    def __init__(self, size):
        self.known, self.budget, self.size = {}, 16 * size + 65536, size

    def spend(self, count, what):
        self.budget -= count
        if self.budget < 0:
            raise Unreadable(f"{what} claims {count:,} bytes in a file of {self.size:,}")

    def storage(self, element, key, count, read=None):
        key = key if type(key) is str else str(count_of(key))
        if key not in self.known:
            if not isinstance(element, Element) or count_of(count) * element.dtype.itemsize > self.size:
                claim = f"{count:,} elements" if isinstance(element, Element) else "elements of an unknown dtype"
                raise Unreadable(f"storage {key[:40]!r} claims {claim} in a file of {self.size:,} bytes")
            self.known[key] = Storage(element, count)
            if read:
                self.known[key].data = read()
                if len(self.known[key].data) != self.known[key].bytes:
                    raise Unreadable(f"storage {key[:40]!r} has another length than recorded: damaged")
        return self.known[key]

    def view(self, storage, key, offset, count):
        if count_of(offset) + count_of(count) > storage.count:
            raise Unreadable("a view that exceeds its storage")
        return Tensor(storage, offset, (count,), (1,), storage.element)

    def tensor(self, storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None, dtype=None):
        if isinstance(storage, Tensor):  # a legacy view of a storage
            offset, storage = count_of(offset) + storage.offset, storage.storage
        if not isinstance(storage, Storage) or metadata:
            raise Unreadable("a tensor without its storage, or a conjugate view of one")
        element = dtype or storage.element
        valid = isinstance(element, Element) and type(shape) is tuple and len(shape) == len(strides) <= 32
        if not valid:
            raise Unreadable("a tensor with an invalid shape or dtype")
        size = 1
        for side in shape:
            size *= count_of(side)
        self.spend(size * element.dtype.itemsize, f"a tensor of shape {shape}"[:200])
        last = count_of(offset) + (sum((n - 1) * count_of(step) for n, step in zip(shape, strides)) if size else -1)
        if (last + 1) * element.dtype.itemsize > storage.bytes:
            raise Unreadable(f"a tensor of shape {shape} exceeds its storage of {storage.count} elements")
        return Tensor(storage, offset, shape, strides, element)


def plain(tree, storages):
    """Replace the placeholders in a tree by arrays, at any depth up to DEPTH; what is not a plain value is refused."""
    done = {}  # id -> value and height: parts may be shared. Unfinished: too high, so that a cycle is refused

    def walk(item, room):
        if type(item) in SCALARS or type(item) is complex:
            return item, 0
        if id(item) not in done:
            done[id(item)] = (None, DEPTH + 1)
            done[id(item)] = make(item, room)
        value, height = done[id(item)]
        if height > room:
            raise Unreadable(f"containers nested more than {DEPTH} deep, or a container that contains itself")
        return value, height

    def make(item, room):
        if isinstance(item, (Tensor, Array)):
            array = item.array()
            storages.spend(array.nbytes, f"an array of shape {array.shape}"[:200])
            return array, 0
        if isinstance(item, memoryview):
            return bytes(item), 0
        if isinstance(item, Element):
            return f"torch.{item.name}", 0
        if not isinstance(item, (dict, list, tuple, set, frozenset)):
            raise Unreadable(f"a {type(item).__name__}, which is no tensor, number, string or plain container")
        if room == 0:
            raise Unreadable(f"containers nested more than {DEPTH} deep")
        parts = [walk(part, room - 1) for part in (item.values() if isinstance(item, dict) else item)]
        height = 1 + max((part[1] for part in parts), default=0)
        values = [part[0] for part in parts]
        if isinstance(item, dict):
            return dict(zip(item, values)), height
        return (tuple if type(item) is tuple else list if type(item) is list else set)(values), height

    return walk(tree, DEPTH)[0]
