"""The figures of the README exist, are small, and their script draws them."""

import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def draw_figures():
    spec = importlib.util.spec_from_file_location("draw_figures", ROOT / "scripts" / "draw_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_figures_of_the_readme_exist_and_are_small():
    shown = re.findall(r"\((images/[\w.]+)\)", (ROOT / "README.md").read_text())
    assert shown and all((ROOT / name).is_file() for name in shown)
    assert sum(path.stat().st_size for path in (ROOT / "images").iterdir()) < 1.5e6


def test_figures_are_valid_svg_with_a_background(draw_figures):
    photo = np.full((64, 128, 3), 90, np.uint8)
    for drawing in (draw_figures.architecture(photo, photo), draw_figures.criss_cross()):
        root = ElementTree.fromstring(drawing)
        width, height = (float(root.get(side)) for side in ("width", "height"))
        texts = [e for e in root.iter("{http://www.w3.org/2000/svg}text")]
        assert len(texts) > 8 and root.get("aria-label")
        assert all(0 < float(t.get("x")) < width and 0 < float(t.get("y")) < height for t in texts)
        assert root.find("{http://www.w3.org/2000/svg}rect").get("class") == "paper"


def test_operations_in_the_figure_are_those_of_the_paper(draw_figures):
    assert [costs[1].split()[0] for costs in draw_figures.paper_costs()] == ["108", "8.3", "16.5"]


def test_two_passes_reach_every_cell_in_the_figure_and_one_pass_the_cross(draw_figures):
    cells = re.findall(r'rx="2" fill="(#\w+)"', draw_figures.criss_cross())
    grey = [cells[k * 117 : (k + 1) * 117].count("#e6e9ee") for k in range(3)]
    assert grey == [0, 117 - (9 + 13 - 1), 0]
