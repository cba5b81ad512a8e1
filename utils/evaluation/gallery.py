"""The best and the worst pictures of an evaluation, kept small while it runs."""

import os

import numpy as np
from PIL import Image

from utils.drawing import figures

WIDTH = 512  # of a thumbnail


class Gallery:
    """Of all pictures offered, the `keep` best and the `keep` worst stay, as thumbnails."""

    def __init__(self, keep, palette, ignore):
        self.keep, self.palette, self.ignore = keep, palette, ignore
        self.kept = {"best": [], "worst": []}  # (score for sorting, number, panels)

    def offer(self, number, score, image, label, prediction):
        if not self.keep or np.isnan(score):
            return
        for kind, rank in (("best", -score), ("worst", score)):
            kept, entry = self.kept[kind], (rank, number)
            if len(kept) == self.keep and entry > kept[-1][:2]:
                continue
            kept.append((*entry, self.panels(image, label, prediction)))
            kept.sort(key=lambda item: item[:2])
            del kept[self.keep :]

    def panels(self, image, label, prediction):
        """Picture, truth, prediction, errors."""
        void = label == self.ignore
        parts = [image[:, :, ::-1]]
        parts += [figures.colourise(np.where(void, figures.VOID, x), self.palette) for x in (label, prediction)]
        parts.append(figures.error_map(label, prediction, void))
        return [thumbnail(part) for part in parts]

    def write(self, folder, ranking):
        """worst_1.png .. best_1.png; `ranking`: numbers of all ranks' pictures, best first. -> [{file, number}]"""
        ranks = {"best": list(ranking)[: self.keep], "worst": list(ranking)[::-1][: self.keep]}
        written = []
        for kind, kept in self.kept.items():
            for _, number, panels in kept:
                if number in ranks[kind]:
                    os.makedirs(folder, exist_ok=True)
                    name = f"{kind}_{ranks[kind].index(number) + 1}.png"
                    Image.fromarray(np.hstack(panels)).save(os.path.join(folder, name))
                    written.append(name)
        return written


def thumbnail(picture, width=WIDTH):
    """RGB array, at most `width` wide."""
    height, wide = picture.shape[:2]
    if wide <= width:
        return np.ascontiguousarray(picture)
    size = (width, max(round(height * width / wide), 1))
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.BILINEAR))
