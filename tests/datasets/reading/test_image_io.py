"""Image files with every fault that is known to mislead a loader: each is read correctly or reported."""

import io
import struct
import threading
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from support.image_files import fails, save

from datasets.reading import image_io
from datasets.reading.image_io import DataError, read_image, read_pixels
from datasets.reading.label_io import read_label


def test_png_and_jpeg_are_what_opencv_reads(rgb, tmp_path):
    for name, options in (("a.png", {}), ("a.jpg", {"quality": 90}), ("a.webp", {}), ("a.bmp", {})):
        path = save(rgb, tmp_path / name, **options)
        np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))


@pytest.mark.parametrize("rows", [1, 50, 85, 87, 96, 500])
@pytest.mark.parametrize("options", [{}, {"compress_level": 0}, {"mode": "L"}, {"mode": "RGBA"}, {"interlaced": True}])
def test_the_top_of_a_png_is_the_top_of_the_whole(rgb, tmp_path, rows, options):
    path = tmp_path / "a.png"
    options = dict(options)
    image = rgb.convert(options.pop("mode", "RGB"))
    if options.pop("interlaced", False):  # Pillow writes none: the flag alone must prevent the fast way
        data = io.BytesIO()
        image.save(data, "png")
        raw = bytearray(data.getvalue())
        assert image_io.png_size(np.frombuffer(bytes(raw), np.uint8)) == (96, 128)
        raw[28] = 1
        raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
        path.write_bytes(raw)
        with pytest.raises(DataError):  # the data is not interlaced, so no decoder can read it
            read_pixels(path, rows, (96, 128))
        return
    save(image, path, **options)
    pixels, size = read_pixels(path, rows, (96, 128))
    want = cv2.imread(str(path))
    assert size == (96, 128) and len(pixels) >= min(rows, 96)
    np.testing.assert_array_equal(pixels, want[: len(pixels)])


def test_a_truncated_jpeg_is_an_error_not_a_grey_bottom(rgb, tmp_path):
    path = save(rgb, tmp_path / "a.jpg", quality=90)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert cv2.imread(str(path)) is not None  # the fault of OpenCV
    fails(["a.jpg", "truncated JPEG", "copy it again"], read_image, path)
    path.write_bytes(path.read_bytes()[:100])
    fails(["a.jpg", "100 bytes", "headers"], read_image, path)


def test_a_truncated_progressive_jpeg_is_an_error(rgb, tmp_path):
    path = save(rgb, tmp_path / "a.jpg", quality=90, progressive=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    fails(["truncated JPEG"], read_image, path)


def test_a_jpeg_without_end_marker_is_accepted_with_a_notice(rgb, tmp_path):
    path = save(rgb, tmp_path / "a.jpg", quality=90)
    want = cv2.imread(str(path))
    path.write_bytes(path.read_bytes()[:-2])
    np.testing.assert_array_equal(read_image(path), want)
    assert [topic for topic, _ in image_io.NOTICES] == ["jpeg-end"] and "a.jpg" in image_io.NOTICES[0][1]


def test_a_thumbnail_does_not_hide_a_truncation(rgb, tmp_path):
    """The end marker of a thumbnail in the headers does not count."""
    thumbnail = io.BytesIO()
    rgb.resize((32, 24)).save(thumbnail, "jpeg")
    path = save(rgb, tmp_path / "a.jpg", quality=90)
    raw = path.read_bytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail.getvalue()) + 2) + thumbnail.getvalue()
    whole = raw[:2] + segment + raw[2:]
    path.write_bytes(whole)
    read_image(path)
    path.write_bytes(whole[: -len(raw) // 2])
    fails(["truncated JPEG"], read_image, path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["is empty (0 bytes)"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 7\n", ["git-lfs pointer", "git lfs pull"]),
        (b"<!DOCTYPE html><html>404</html>", ["web page", "download it again"]),
        (b"hello, world, this is not an image", ["34 bytes", "hello, world", "not a known image format"]),
    ],
)
@pytest.mark.parametrize("read", [read_image, read_label])
def test_a_file_that_is_not_an_image_is_named(tmp_path, content, words, read):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    fails(["a.png", *words], read, path)


@pytest.mark.parametrize("read", [read_image, read_label])
def test_damaged_png(rgb, scene, tmp_path, read):
    image = rgb if read is read_image else Image.fromarray(scene[1])
    path = save(image, tmp_path / "a.png")
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    fails(["a.png", "truncated or damaged"], read, path)
    path.write_bytes(raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 16]) + raw[len(raw) // 2 + 1 :])
    fails(["a.png", "truncated or damaged"], read, path)


def test_a_png_damaged_in_the_rows_that_are_wanted(rgb, tmp_path):
    path = save(rgb, tmp_path / "a.png")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 4] ^= 255
    path.write_bytes(raw)
    fails(["a.png", "damaged"], read_pixels, path, 80, (96, 128))


def test_missing_dangling_unreadable(tmp_path, monkeypatch):
    fails(["gone.png", "missing"], read_image, tmp_path / "gone.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    fails(["link.png", "dangling link", "target.png"], read_image, tmp_path / "link.png")
    fails([str(tmp_path), "not a file"], read_image, tmp_path)


def test_a_failed_read_is_tried_three_times(rgb, tmp_path, monkeypatch):
    path, calls, open_ = save(rgb, tmp_path / "a.png"), [], open

    def flaky(name, *arguments, **options):
        calls.append(name)
        if len(calls) < failures:
            raise OSError(5, "Input/output error")
        return open_(name, *arguments, **options)

    monkeypatch.setattr(image_io.time, "sleep", lambda seconds: None)
    monkeypatch.setitem(image_io.__dict__, "open", flaky)
    failures = 3
    assert read_image(path).shape == (96, 128, 3) and len(calls) == 3
    calls, failures = [], 9
    fails(["a.png", "after 3 tries", "Input/output error"], read_image, path)


@pytest.mark.parametrize("read", [read_image, read_label])
def test_a_file_that_is_being_written_is_read_again(scene, tmp_path, read):
    whole = save(Image.fromarray(scene[1]), tmp_path / "whole.png").read_bytes()
    path = tmp_path / "a.png"
    path.write_bytes(whole[:200])
    threading.Timer(0.05, lambda: path.write_bytes(whole)).start()
    assert read(path).shape[:2] == (96, 128)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_other_modes_become_colour(rgb, tmp_path, mode):
    image = rgb.convert(mode)
    path = save(image, tmp_path / "a.png")
    want = np.asarray(image.convert("RGB"))[:, :, ::-1]
    np.testing.assert_array_equal(read_image(path), want)


def test_cmyk_jpeg_is_close_to_its_colours(rgb, tmp_path):
    path = save(rgb.convert("CMYK"), tmp_path / "a.jpg", quality=95)
    image = read_image(path)
    assert image.shape == (96, 128, 3) and np.abs(image.astype(int) - np.asarray(rgb)[:, :, ::-1]).mean() < 8


def test_16_bit_images_keep_their_brightness(scene, tmp_path):
    grey = scene[0][:, :, 1]
    for name, values in (("grey", grey.astype(np.uint16) * 257), ("colour", scene[0].astype(np.uint16) * 257)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), values)
        got = read_image(tmp_path / f"{name}.png")
        want = scene[0] if name == "colour" else np.repeat(grey[:, :, None], 3, 2)
        np.testing.assert_array_equal(got, want)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.tif")[:, :, 0], grey)


def turned(rgb, path, orientation=6):
    exif = Image.Exif()
    exif[274] = orientation
    return save(rgb, path, quality=95, exif=exif)


def test_exif_orientation_counts_only_where_it_makes_the_image_fit(rgb, tmp_path):
    path = turned(rgb, tmp_path / "a.jpg")
    assert read_image(path).shape == (96, 128, 3) and not image_io.NOTICES
    assert read_pixels(path, None, (96, 128))[1] == (96, 128) and not image_io.NOTICES
    pixels, size = read_pixels(path, None, (128, 96))
    assert pixels.shape == (128, 96, 3) and size == (128, 96) and image_io.NOTICES[0][0] == "exif"


def test_the_content_decides_and_not_the_extension(rgb, tmp_path):
    path = tmp_path / "a.jpg"
    rgb.save(path, "png")
    np.testing.assert_array_equal(read_image(path), np.asarray(rgb)[:, :, ::-1])


def test_avif_where_pillow_has_it(rgb, tmp_path):
    try:
        path = save(rgb, tmp_path / "a.avif", quality=95)
    except (KeyError, OSError, ValueError):
        pytest.skip("this Pillow writes no AVIF")
    assert np.abs(read_image(path).astype(int) - np.asarray(rgb)[:, :, ::-1]).mean() < 8


def test_names_beyond_ascii(rgb, tmp_path):
    path = save(rgb, tmp_path / "Straße 街道.png")
    assert read_image(path).shape == (96, 128, 3)


def test_one_pixel(tmp_path):
    path = save(Image.new("RGB", (1, 1), (1, 2, 3)), tmp_path / "a.png")
    assert read_image(path).tolist() == [[[3, 2, 1]]]


def test_too_many_pixels_name_the_option(tmp_path):
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13)
    fields = b"IHDR" + struct.pack(">IIBBBBB", 1 << 17, 1 << 17, 8, 0, 0, 0, 0)
    path = tmp_path / "huge.png"
    path.write_bytes(header + fields + struct.pack(">I", zlib.crc32(fields)) + b"\0" * 64)
    for read in (read_image, read_label):
        fails(["huge.png", "OPENCV_IO_MAX_IMAGE_PIXELS"], read, path)
