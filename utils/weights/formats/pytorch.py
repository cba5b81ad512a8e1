"""Files of PyTorch (.pth, .pt, .pth.tar, .bin; zip and legacy format) and Jittor (.pkl), without either.

    load(path)       -> what was saved: dicts, lists, tuples, numbers, strings; tensors as numpy arrays
    save(path, tree) -> the zip format, which torch.load(path, weights_only=True) opens

Arrays are read-only views of the mapped file: a 270 MB checkpoint costs no second copy. Nothing in the file is executed
(see pickles.py), sizes are checked against the file before anything is made, and the zip format's check sums and
Jittor's are checked. bfloat16, which numpy lacks, comes as float32, value for value.
"""

import hashlib
import mmap
import os
import re
import struct
import zipfile
import zlib

from utils.weights.formats.pickles import Unreadable
from utils.weights.formats.pickles import load as unpickle
from utils.weights.formats.pytorch_pickle import MAGIC, Files, plain, table
from utils.weights.formats.pytorch_write import save

__all__ = ["is_legacy", "load", "mapped", "save"]

JITTOR_END = b"HCAJSLHD"  # behind a pickle and its SHA-1, 28 bytes in all
PROTOCOL = 1001
ANCIENT = re.compile(rb"\(*[ci][\w.]+\n[\w.]+\n")  # a pickle of protocol 0 that begins with a global: it is named


def load(path):
    """One ValueError that begins with the path for whatever is wrong with the file."""
    data = mapped(path)
    try:
        if data[:4] == b"PK\3\4":
            return read_zip(path, data)
        if data[:1] == b"\x80" or ANCIENT.match(data[:512]):
            return read_legacy(data) if is_legacy(data) else read_pickle(data)
    except ValueError as error:  # Unreadable, or numpy's
        raise ValueError(f"{path}: {error}") from None
    raise ValueError(f"{path} is not a checkpoint: {what_else(data)}")


def mapped(path):
    """The whole file as a memoryview, read from the disk where it is looked at."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"no checkpoint {path}")
    if not os.path.isfile(path):
        raise ValueError(f"{path} is a folder or a device; expected a file of weights")
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise ValueError(f"{path} is empty; was its download cut short?")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None


def what_else(data):
    """Words for the files that are found under such names although they are no weights."""
    head = data[:512].tobytes()
    if head.lstrip()[:1] == b"<":
        return "it is a web page, not weights; the download did not work"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the weights; `git lfs pull` fetches them"
    if head[257:262] == b"ustar":
        return "it is a tar archive; unpack it, or, from PyTorch before 0.2, save it again with a newer one"
    return "its beginning is that of no format known here (PyTorch zip or legacy, Jittor pickle, safetensors, .npz)"


# PyTorch since 1.6: an uncompressed zip of <name>/data.pkl, <name>/byteorder and <name>/data/<key>.


def read_zip(path, data):
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            count = len(archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, OverflowError, struct.error):
        raise Unreadable("a zip file without its end: cut short, or damaged; download or copy it again") from None
    tops = [name[: -len("data.pkl")] for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(tops) != 1 or len(members) != count:
        raise Unreadable(f"a zip file with {len(tops)} data.pkl; a PyTorch file has one, and each name once")
    top = tops[0]
    if top + "constants.pkl" in members:
        raise Unreadable("a TorchScript program, not weights; save the model's state_dict() instead")

    def member(name):
        if top + name not in members:
            raise Unreadable(f"it has no {name[:60]!r}: cut short or damaged")
        return zip_member(data, members[top + name])

    if top + "byteorder" in members and member("byteorder") != b"little":
        raise Unreadable("written on a big-endian machine; save it again on a little-endian one")
    files = Files(len(data))

    def persistent(name):
        _, kind, key, _, count = name
        return files.storage(kind, key, count, lambda: member(f"data/{key}"))

    tree, _ = unpickle(member("data.pkl"), table(files), persistent=persistent)
    return plain(tree, files)


def zip_member(data, info):
    """The bytes of an uncompressed member, its check sum verified."""
    if info.compress_type or info.flag_bits & 1 or info.compress_size != info.file_size:
        raise Unreadable(f"{info.filename!r} is compressed or encrypted, as PyTorch never does; repack it without")
    header = data[info.header_offset : info.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise Unreadable(f"{info.filename!r} is not where the zip file says: damaged")
    start = info.header_offset + 30 + sum(struct.unpack("<2H", header[26:]))
    if start + info.file_size > len(data):
        raise Unreadable(f"{info.filename!r} reaches beyond the end of the file: cut short")
    body = data[start : start + info.file_size]
    if zlib.crc32(body) != info.CRC:
        raise Unreadable(f"{info.filename!r} does not match its check sum: damaged; download or copy it again")
    return body


# Before: five pickles (magic number, version, machine, tree, keys), then each storage as an int64 count and its bytes.


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
    files = Files(len(data))

    def persistent(name):
        _, kind, key, _, count, view = name
        storage = files.storage(kind, key, count)
        return storage if view is None else files.view(storage, *view)

    tree, at = unpickle(data, table(files), at, persistent)
    keys, at = unpickle(data, {}, at)
    if type(keys) is not list or any(type(key) not in (str, int) for key in keys):
        raise Unreadable("its list of storages is damaged")
    if sorted(map(str, keys)) != sorted(files.storages):
        raise Unreadable("its list of storages is not that of its tensors: damaged")
    for storage in (files.storages[str(key)] for key in keys):
        end = at + 8 + storage.bytes
        if end > len(data) or struct.unpack("<q", data[at : at + 8])[0] != storage.count:
            raise Unreadable("a storage has not the length announced: cut short or damaged")
        storage.data, at = data[at + 8 : end], end
    return plain(tree, files)


def read_pickle(data):
    """Jittor: one pickle of numpy arrays or Vars, signed or, in older files, bare."""
    if data[-8:] == JITTOR_END:
        if hashlib.sha1(data[:-28]).digest() != data[-28:-8]:
            raise Unreadable("it does not match its SHA-1: damaged; download or copy it again")
        data = data[:-28]
    files = Files(len(data))
    tree, end = unpickle(data, table(files))
    if end != len(data):
        raise Unreadable(f"{len(data) - end} bytes behind the pickle: a damaged file, or none of Jittor's")
    return plain(tree, files)
