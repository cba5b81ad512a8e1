"""One self-contained HTML page from real files: templates, styles and scripts in this folder, data packed into it.

The page opens from disk and asks nothing of the network: its policy (in the template's head) forbids it.
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
    """The template with each {{name}} replaced by the part of that name, and {{file:name}} by a file beside it.

    Parts are HTML: text goes through `escape` first, data through `as_json`.
    """

    def fill(match):
        name = match.group(1)
        return (PAGES / name[5:]).read_text(encoding="utf-8") if name.startswith("file:") else parts[name]

    return re.sub(r"\{\{([\w:.]+)\}\}", fill, (PAGES / template).read_text(encoding="utf-8"))


def write(path, text):
    """Whole or not at all; -> bytes written."""
    data = text.encode("utf-8")
    with whole_file(path) as file:
        file.write(data)
    return len(data)


def escape(text):
    return html.escape(str(text))


def as_json(value):
    """For a <script type="application/json">: no text in it can end the element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def pack(array):
    """A uint8 array of any shape for the page: compressed, in letters."""
    data = zlib.compress(np.ascontiguousarray(array, np.uint8).tobytes(), 9)
    return {"shape": list(array.shape), "deflate": base64.b64encode(data).decode()}


def data_uri(picture, quality=None):
    """(H, W, 3) RGB or (H, W) grey uint8 -> data: URI; JPEG of that quality, or PNG without one."""
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(np.ascontiguousarray(picture))
    kind = "png" if quality is None else "jpeg"
    if kind == "png":
        image.save(file, "png", optimize=True)
    else:
        image.save(file, "jpeg", quality=quality)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
