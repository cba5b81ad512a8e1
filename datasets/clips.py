"""Clips: T frames of one sequence in time order, `frame_stride` apart; the labelled frame is the middle one. At the
ends of a sequence, and at gaps in it, the last frame is repeated.
"""

import re
from collections import defaultdict, deque
from pathlib import Path

import numpy as np

from datasets.reading.image_io import DataError
from datasets.reading.pairs import stem


def stretches(sequence):
    """[(time, item)] of one sequence -> lists of items in time order, each without a gap: frames that are more than
    twice the usual interval apart."""
    sequence = sorted(sequence)
    interval = np.median(np.diff([time for time, _ in sequence])) if len(sequence) > 1 else 0
    stretch = [sequence[0][1]]
    for (before, _), (time, item) in zip(sequence, sequence[1:]):
        if time - before > 2 * interval:
            yield stretch
            stretch = []
        stretch.append(item)
    yield stretch


def around(stretch, place, frames, frame_stride=1):
    """The items of the clip around stretch[place]."""
    steps = (place + (k - frames // 2) * frame_stride for k in range(frames))
    return [stretch[min(max(step, 0), len(stretch) - 1)] for step in steps]


def of_files(paths, frames, frame_stride=1):
    """{path: the paths of its clip}. Files of one folder whose names differ in their last number alone are a sequence,
    in the order of that number."""
    sequences, result = defaultdict(list), {}
    for path in paths:
        name = stem(Path(path).name)
        match = re.fullmatch(r"(.*?)(\d+)(\D*)", name)
        key, time = ((match[1], match[3]), int(match[2])) if match else ((name, Path(path).suffix), 0)
        sequences[Path(path).parent, key].append((time, path))
    for sequence in sequences.values():
        for stretch in stretches(sequence):
            result.update({path: around(stretch, place, frames, frame_stride) for place, path in enumerate(stretch)})
    return result


def stack(images, names):
    """Images (H, W, C) -> a clip (T, H, W, C). `names`: of their files, for the error if they differ in size."""
    for image, name in zip(images, names):
        if image.shape != images[0].shape:
            sizes = " and ".join("x".join(map(str, each.shape[:2])) for each in (images[0], image))
            raise DataError(f"{names[0]} and {name} are of one clip and differ in size: {sizes} (height x width)")
    return np.stack(images)


def sliding(images, frames, frame_stride=1):
    """The images of a video, one after another -> the clip around each, (T, H, W, C)."""
    reach, kept, first, place = frames // 2 * frame_stride, deque(), 0, 0  # kept: the images from number `first` on
    for image in images:
        kept.append(image)
        if first + len(kept) > place + reach:
            yield np.stack(around(kept, place - first, frames, frame_stride))
            place += 1
            if place - first > reach:
                kept.popleft()
                first += 1
    for last in range(place, first + len(kept)):
        yield np.stack(around(kept, last - first, frames, frame_stride))
