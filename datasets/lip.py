"""LIP (Look Into Person): body parts and clothes of one person per image, 20 classes with the background.

<split>_images/<id>.jpg and <split>_segmentations/<id>.png, in one folder or as the zip files unpack (TrainVal_images,
TrainVal_parsing_annotations). Mirroring turns left arms into right arms: `flip_pairs` swaps them in labels and logits.
"""

from datasets.files import FileDataset, hex_palette

NAMES = """
    Background; Hat; Hair; Glove; Sunglasses; UpperClothes; Dress; Coat; Socks; Pants; Jumpsuits; Scarf; Skirt; Face;
    Left-arm; Right-arm; Left-leg; Right-leg; Left-shoe; Right-shoe
"""
NAMES = tuple(name.strip() for name in NAMES.split(";"))
PALETTE = hex_palette(
    """
    000000 800000 ff0000 005500 aa0033 ff5500 000055 0077dd 555500 005555 553300 345680 008000 0000ff 33aadd 00ffff
    55ffaa aaff55 ffff00 ffaa00
"""
)


class LIP(FileDataset):
    title, looks_like = (
        "LIP",
        "train_images/ and train_segmentations/ (or TrainVal_images/, TrainVal_parsing_annotations/)",
    )
    inside = ("", "LIP")
    names, palette, splits = NAMES, PALETTE, ("train", "val", "test")
    values = {number: number for number in range(20)}
    flip_pairs = ((14, 15), (16, 17), (18, 19))
    expected = {"train": 30462, "val": 10000, "test": 10000}
    sides, longest, scales = (473,), None, (0.75, 1.0, 1.25)

    @classmethod
    def is_root(cls, folder):
        return any(cls.folders(folder, split)[1] is not None for split in ("train", "val"))

    @staticmethod
    def folders(root, split):
        """(folder of the images, folder of the labels); None for one that does not exist."""
        images = (f"{split}_images", f"TrainVal_images/{split}_images", "Testing_images/testing_images")
        labels = (f"{split}_segmentations", f"TrainVal_parsing_annotations/{split}_segmentations")
        labels += (f"TrainVal_parsing_annotations/TrainVal_parsing_annotations/{split}_segmentations",)
        images = images if split == "test" else images[:2]
        pair = [next((name for name in names if (root / name).is_dir()), None) for names in (images, labels)]
        return pair if pair[0] else (None, None)

    def pairs_of(self, split):
        images, labels = self.folders(self.root, split)
        return self.match(images, labels) if images else []
