"""The best and the worst images of an evaluation, kept as thumbnails while it runs."""

import os

import numpy as np
from PIL import Image

from utils.drawing import figures

WIDTH = 512  # of a thumbnail


class Gallery:
    """Keeps thumbnails of the `keep` best and the `keep` worst of all images."""

    def __init__(self, keep, palette, ignore):
        self.keep, self.palette, self.ignore = keep, palette, ignore
        self.kept = {"best": [], "worst": []}  # (score for sorting, number, panels)

    def offer(self, number, score, image, label, prediction):
        if not self.keep or np.isnan(score):
            return
        for end, rank in (("best", -score), ("worst", score)):
            kept, entry = self.kept[end], (rank, number)
            if len(kept) == self.keep and entry > kept[-1][:2]:
                continue
            kept.append((*entry, self.panels(image, label, prediction)))
            kept.sort(key=lambda item: item[:2])
            del kept[self.keep :]

    def panels(self, image, label, prediction):
        """Image, label, prediction, errors."""
        void = label == self.ignore
        parts = [figures.visible(image)]
        parts += [
            figures.colourise(np.where(void, figures.VOID, np.int32(x)), self.palette) for x in (label, prediction)
        ]
        parts.append(figures.error_map(label, prediction, void))
        return [thumbnail(part) for part in parts]

    def write(self, folder, ranking):
        """worst_1.png .. best_1.png; `ranking`: the image numbers of all ranks, best first. -> names of the files"""
        ranks = {"best": list(ranking)[: self.keep], "worst": list(ranking)[::-1][: self.keep]}
        written = []
        for end, kept in self.kept.items():
            for _, number, panels in kept:
                if number in ranks[end]:
                    os.makedirs(folder, exist_ok=True)
                    name = f"{end}_{ranks[end].index(number) + 1}.png"
                    Image.fromarray(np.hstack(panels)).save(os.path.join(folder, name))
                    written.append(name)
        return written


def thumbnail(image, width=WIDTH):
    """RGB array, at most `width` wide."""
    height, wide = image.shape[:2]
    if wide <= width:
        return np.ascontiguousarray(image)
    size = (width, max(round(height * width / wide), 1))
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.BILINEAR))
