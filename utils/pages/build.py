"""Builds one self-contained HTML page from the templates, styles and scripts of this folder and from data.

The page opens from disk and makes no requests: the content security policy in the head of the template forbids them.
"""

import base64
import html
import io
import json
import re
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from utils.files import whole_file

PAGES = Path(__file__).resolve().parent


def build(template, **parts):
    """The template with each {{name}} replaced by the part of that name, and each {{file:name}} by that file.

    Parts are HTML: text goes through `escape` first, data through `as_json`.
    """

    def fill(match):
        name = match.group(1)
        return (PAGES / name[5:]).read_text(encoding="utf-8") if name.startswith("file:") else parts[name]

    return re.sub(r"\{\{([\w:.]+)\}\}", fill, (PAGES / template).read_text(encoding="utf-8"))


def write(path, text):
    """Written atomically. -> the number of bytes"""
    data = text.encode("utf-8")
    with whole_file(path) as file:
        file.write(data)
    return len(data)


def escape(text):
    return html.escape(str(text))


def as_json(value):
    """For a <script type="application/json">: no text in it can close the element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def pack(array):
    """A uint8 array of any shape -> its shape and its bytes, deflated and base64-encoded."""
    data = zlib.compress(np.ascontiguousarray(array, np.uint8).tobytes(), 9)
    return {"shape": list(array.shape), "deflate": base64.b64encode(data).decode()}


def data_uri(image, quality=None):
    """A Pillow image, or (H, W, 3) RGB or (H, W) grey uint8 -> data: URI, a JPEG of that quality; default: PNG."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.ascontiguousarray(image))
    file, options = io.BytesIO(), {"optimize": True} if quality is None else {"quality": quality}
    file_format = "png" if quality is None else "jpeg"
    image.save(file, file_format, **options)
    return f"data:image/{file_format};base64,{base64.b64encode(file.getvalue()).decode()}"
