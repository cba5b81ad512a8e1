import pytest
from PIL import Image

from datasets.reading import image_io
from datasets.scenes.dataset import draw_scene


@pytest.fixture(autouse=True)
def no_notices():
    image_io.NOTICES.clear()


@pytest.fixture(scope="module")
def scene():
    return draw_scene(0, 3, 96, 128)  # BGR, label, instance


@pytest.fixture
def rgb(scene):
    return Image.fromarray(scene[0][:, :, ::-1])
