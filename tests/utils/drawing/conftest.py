import numpy as np
import pytest

from utils.drawing.figures import PAPER


@pytest.fixture
def is_framed():
    """is_framed(figure): the outermost two pixels have the colour of the paper, so that no text is cut off."""

    def check(figure):
        pixels = np.asarray(figure)
        return all((part == PAPER).all() for part in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]))

    return check
