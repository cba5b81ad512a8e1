import base64
import io

import numpy as np
from PIL import Image

from utils.pages import build


def test_text_cannot_break_out_of_the_page():
    assert "</script" not in build.as_json({"names": ["</script><script>alert(1)"]})
    assert build.escape("<b>") == "&lt;b&gt;"


def test_images_become_png_or_jpeg_of_the_given_quality(rng):
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for image in (pixels, Image.fromarray(pixels)):
        kept, reduced = build.data_uri(image), build.data_uri(image, quality=50)
        assert kept.startswith("data:image/png;base64,") and reduced.startswith("data:image/jpeg;base64,")
        data = base64.b64decode(kept.split(",")[1])
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
