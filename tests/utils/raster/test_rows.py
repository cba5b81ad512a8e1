"""Reading and writing PNG and TIFF by rows, beside Pillow."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from utils import media
from utils.raster import open_rows, png, tiff
from utils.raster.png import RowPng
from utils.raster.tiff_write import RowTiff

GEO = {33550: (1.0, 1.0, 0.0), 33922: (0.0, 0.0, 0.0, 5e5, 6e6, 0.0), 34735: (1, 1, 0, 1, 1024, 0, 1, 1), 42113: "255"}


def pixels(height=201, width=77, channels=3):
    small = np.random.default_rng(3).integers(0, 256, (9, 7, channels)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.BICUBIC))


def in_bands(path):
    """As a user of sliding windows reads: bands that overlap."""
    source = open_rows(path)
    height, parts, done = source.size[0], [], 0
    while done < height:
        end = min(done + 50, height)
        source.rows(done, min(end + 31, height))
        parts.append(source.rows(done, end).copy())
        done = end
    with pytest.raises(ValueError, match="was read already"):
        source.rows(0, 1)
    return np.concatenate(parts)


def check(path):
    np.testing.assert_array_equal(in_bands(path), media.read_upright(path))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_a_png_of_every_8_bit_mode(tmp_path, mode):
    image = Image.fromarray(pixels())
    image = image.quantize(50) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "a.png")  # libpng and Pillow choose all filters
    check(tmp_path / "a.png")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_a_striped_tiff(tmp_path, mode, compression):
    image = Image.fromarray(pixels())
    image = image.quantize(50) if mode == "P" else image.convert(mode)
    for rows in (16, 201):
        image.save(tmp_path / "a.tif", compression=compression, tiffinfo={278: rows})
        check(tmp_path / "a.tif")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [1, 8])
def test_a_tiled_tiff(tmp_path, order, compression):
    """Written here: tiles of 32x48 of an image whose sides they do not divide, in both byte orders."""
    write_tiled(tmp_path / "a.tif", pixels(), order, compression)
    with Image.open(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(np.asarray(image), pixels())
    check(tmp_path / "a.tif")


def write_tiled(path, image, order="<", compression=8, tile=(32, 48)):
    import zlib

    height, width = image.shape[:2]
    places, sizes, file = [], [], io.BytesIO(bytes(8))
    file.seek(8)
    for top in range(0, height, tile[0]):
        for left in range(0, width, tile[1]):
            block = np.zeros((*tile, 3), np.uint8)
            part = image[top : top + tile[0], left : left + tile[1]]
            block[: part.shape[0], : part.shape[1]] = part
            data = zlib.compress(block.tobytes()) if compression == 8 else block.tobytes()
            places.append(file.tell())
            sizes.append(len(data))
            file.write(data)
    numbers = {256: (width,), 257: (height,), 322: (tile[1],), 323: (tile[0],), 324: places, 325: sizes}
    tags = {tag: (4, len(values), struct.pack(f"{order}{len(values)}I", *values)) for tag, values in numbers.items()}
    shorts = {258: (8, 8, 8), 259: (compression,), 262: (2,), 277: (3,), 284: (1,)}
    tags.update({tag: (3, len(v), struct.pack(f"{order}{len(v)}H", *v)) for tag, v in shorts.items()})
    at = file.tell() + file.tell() % 2
    path.write_bytes(tiff.head(order, at) + file.getvalue()[8:].ljust(at - 8, b"\0") + tiff.directory(order, tags, at))


@pytest.mark.parametrize("save", ["interlaced", "16 bit", "jpeg", "16 bit tiff", "turned", "cut png", "cut tiff"])
def test_what_cannot_be_read_by_rows_is_an_error(tmp_path, save):
    image, path = Image.fromarray(pixels()), tmp_path / ("a.tif" if "tiff" in save or save == "turned" else "a.png")
    deep = Image.fromarray(pixels()[:, :, 0].astype(np.uint16) * 257)
    if save in ("16 bit", "16 bit tiff"):
        deep.save(path)
    elif save == "jpeg":
        image.save(path, "jpeg")
    elif save == "turned":
        image.save(path, tiffinfo={274: 6})
    else:
        image.save(path)
    data = path.read_bytes()
    if save == "interlaced":
        import zlib

        header = data[12:28] + b"\1"
        path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    if save.startswith("cut"):
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError):
        in_bands(path)


def test_a_header_that_cannot_be_true_is_an_error_at_once(tmp_path):
    """No memory is taken, and no list is made, for what a header promises."""
    path = tmp_path / "a.png"
    path.write_bytes(png.SIGNATURE + png.chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)))
    with pytest.raises(
        ValueError, match="2147483647x2147483647 .width x height., more than a file of 33 bytes can hold"
    ):
        open_rows(path)
    path.write_bytes(png.SIGNATURE + struct.pack(">I", 2**32 - 1) + b"IHDR")
    with pytest.raises(ValueError, match="a.png is truncated or damaged"):
        open_rows(path)
    path = tmp_path / "a.tif"
    Image.fromarray(pixels()).save(path, compression="raw", tiffinfo={278: 201})
    order, tags = tiff.read_tags(path)
    for tag, value, words in (
        (257, 2**31, "is truncated: its 2147483648 rows"),
        (257, 0, "damaged TIFF: 1 strips or tiles of 0x77"),
        (278, 1, "damaged TIFF: 1 strips or tiles of 1x77 for an image of 201x77"),
    ):
        changed = {**tags, tag: (4, 1, struct.pack(order + "I", value))}
        if value == 2**31:
            changed[278] = changed[257]
        path.write_bytes(tiff.head(order, 8) + tiff.directory(order, changed, 8))
        with pytest.raises(ValueError, match=words):
            open_rows(path)
    entry = struct.pack("<HHHII", 1, 256, 4, 2**32 - 1, 8)
    for data in (entry, entry[:1], b""):
        path.write_bytes(tiff.head("<", 8) + data)
        with pytest.raises(ValueError, match="a.tif is truncated or damaged"):
            tiff.read_tags(path)


@pytest.mark.parametrize("shape, dtype", [((130, 33), np.uint8), ((130, 33), np.uint16), ((130, 33, 3), np.uint8)])
def test_a_png_written_in_bands_is_the_image(shape, dtype):
    image, file = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype), io.BytesIO()
    target = RowPng(file, shape[:2], 3 if len(shape) == 3 else 1, dtype)
    for first in range(0, 130, 47):
        target.write(image[first : first + 47])
    target.close()
    np.testing.assert_array_equal(np.asarray(Image.open(file)), image)
    with pytest.raises(ValueError, match="130 rows of the PNG were not written"):
        RowPng(io.BytesIO(), shape[:2]).close()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_label_map_carries_the_georeference_of_its_image(tmp_path, dtype):
    Image.fromarray(pixels()).save(tmp_path / "a.tif", tiffinfo=GEO)
    label = (np.arange(201 * 77).reshape(201, 77) % 19).astype(dtype)
    with open(tmp_path / "label.tif", "wb") as file:
        target = RowTiff(file, label.shape, dtype, tiff.georeference(tmp_path / "a.tif"))
        for first in range(0, 201, 47):
            target.write(label[first : first + 47])
        target.close()
    with Image.open(tmp_path / "label.tif") as image:
        np.testing.assert_array_equal(np.asarray(image), label)
        for tag, value in GEO.items():
            assert image.tag_v2[tag] == value
    assert tiff.georeference(tmp_path / "label.tif")[1].keys() == GEO.keys()
    assert tiff.georeference(__file__)[1] == {}
