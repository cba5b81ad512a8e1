"""The figures of the README: they are there, they are small, and their script draws them."""

import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("draw_figures", ROOT / "scripts" / "draw_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_of_the_readme_exist_and_are_small():
    shown = re.findall(r"\((images/[\w.]+)\)", (ROOT / "README.md").read_text())
    assert shown and all((ROOT / name).is_file() for name in shown)
    assert sum(path.stat().st_size for path in (ROOT / "images").iterdir()) < 1.5e6


def test_drawings_are_sound_svg_on_a_background_of_their_own(figures):
    photo = np.full((64, 128, 3), 90, np.uint8)
    for drawing in (figures.architecture(photo, photo), figures.criss_cross()):
        root = ElementTree.fromstring(drawing)
        width, height = (float(root.get(side)) for side in ("width", "height"))
        texts = [e for e in root.iter("{http://www.w3.org/2000/svg}text")]
        assert len(texts) > 8 and root.get("aria-label")
        assert all(0 < float(t.get("x")) < width and 0 < float(t.get("y")) < height for t in texts)
        assert root.find("{http://www.w3.org/2000/svg}rect").get("class") == "paper"


def test_counts_in_the_drawing_are_those_of_the_paper(figures):
    assert [costs[1].split()[0] for costs in figures.paper_costs()] == ["108", "8.3", "16.5"]


def test_two_passes_reach_every_cell_in_the_drawing_and_one_the_cross(figures):
    cells = re.findall(r'rx="2" fill="(#\w+)"', figures.criss_cross())
    grey = [cells[k * 117 : (k + 1) * 117].count("#e6e9ee") for k in range(3)]
    assert grey == [0, 117 - (9 + 13 - 1), 0]
