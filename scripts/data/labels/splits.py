"""Which images are for training and which for validation: as the export says, else a deterministic choice."""

import hashlib
import re

WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
WORDS.update(test="test", testing="test")


def split_of(text):
    """The split that a name of a folder, file or subset contains (instances_train2017), or None."""
    return next((WORDS[word] for word in re.split(r"[^a-z]+", text.lower()) if word in WORDS), None)


def assign(samples, share):
    """-> samples that all have a split. `share` of the images without one, or of those for training, become the
    validation images, if the export has none; None: a tenth."""
    has_validation = any(sample.split == "val" for sample in samples)
    if has_validation and share is not None:
        raise ValueError(f"--val {share:g}: this export has its own validation images; leave --val out")
    pool = [k for k, sample in enumerate(samples) if sample.split in (None, "train")]
    chosen = set()
    if not has_validation and len(pool) > 1:
        share = 0.1 if share is None else share
        count = min(max(round(share * len(pool)), 1), len(pool) - 1) if share else 0
        chosen = set(sorted(pool, key=lambda k: (place(samples[k].name), k))[:count])
    return [s._replace(split="val" if k in chosen else s.split or "train") for k, s in enumerate(samples)]


def place(name):
    """A number that depends on the name alone, so that more images do not change the choice much."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
