"""Save image files, and check the message about a file that cannot be read."""

import pytest

from datasets.reading.image_io import DataError


def save(image, path, **options):
    image.save(path, **options)
    return path


def fails(words, function, *arguments):
    with pytest.raises(DataError) as caught:
        function(*arguments)
    assert all(word in str(caught.value) for word in words), caught.value
