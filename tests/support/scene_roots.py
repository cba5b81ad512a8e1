"""The drawn scenes that the tests of datasets share: SIZE, COUNT per split, SEED."""

SIZE, COUNT, SEED = (48, 96), 3, 4


def write_all(folder):
    """-> {layout: its root}, the same scenes in the folders of every dataset."""
    from datasets.scenes import folders

    return {name: write(folder / name / "data", COUNT, SIZE, SEED) for name, write in folders.LAYOUTS.items()}
