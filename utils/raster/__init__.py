"""Images larger than memory: read and written in bands of rows. `open_rows(path)` -> a RowReader, or None."""

from utils.raster import png, tiff


def open_rows(path):
    """A reader of this file by bands of rows, for 8-bit PNG and TIFF. Raises ValueError with the reason where that is
    not possible."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head == png.SIGNATURE:
        return png.PngRows(path)
    if head[:4] in tiff.HEADS:
        return tiff.TiffRows(path)
    raise ValueError("only PNG and TIFF can be read by rows")
