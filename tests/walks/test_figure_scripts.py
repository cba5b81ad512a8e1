"""Two steps of training, then every script that draws, called from another folder with relative paths."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.drawing.confusion_figure import CAPTION
from utils.drawing.figures import INK, LINES, PAPER, font
from utils.training.logger import read_log

ROOT = Path(__file__).resolve().parent.parent.parent
FINISHED = "document.documentElement.dataset.ready === 'true'"
SVG = "{http://www.w3.org/2000/svg}"


def command(folder, name, *arguments, fails=False):
    """Run a script as a user in another folder does. -> everything that it prints"""
    program = [sys.executable, os.path.relpath(ROOT / name, folder), *map(str, arguments)]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=1500)
    assert (done.returncode != 0) == fails, f"{name}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with runs/a: two steps, a validation, an evaluation."""
    folder = tmp_path_factory.mktemp("elsewhere")
    flags = ["--model", "ccnet_r18", "--dataset", "scenes", "--input-size", "33,33", "--batch-size", "2"]
    flags += ["--num-steps", "2", "--eval-every", "2", "--eval-images", "2", "--device", "cpu"]
    command(folder, "train.py", *flags, "--snapshot-dir", "runs/a")
    flags = ["--restore-from", "runs/a/CS_scenes_2.npz", "--eval-images", "2", "--device", "cpu"]
    command(folder, "evaluate.py", *flags, "--save-dir", "runs/a/outputs")
    return folder


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def is_framed(pixels, border=2):
    sides = (pixels[:border], pixels[-border:], pixels[:, :border], pixels[:, -border:])
    return all((side == PAPER).all() for side in sides)


def test_figures_of_training_and_evaluation(folder):
    for name in ("loss.png", "miou.png", "sheet.png", "outputs/sheet.png", "outputs/confusion.png"):
        assert is_framed(pixels(folder / "runs/a" / name)), name
    loss = pixels(folder / "runs/a/loss.png")
    assert all((loss == colour).all(-1).sum() > 20 for colour in LINES[:2])
    caption = pixels(folder / "runs/a/outputs/confusion.png")[-24:]
    _, xs = np.nonzero(abs(caption - INK).sum(-1) < 60)
    assert abs(np.ptp(xs) - font(12).getlength(CAPTION)) < 5


def test_attention_figure_and_page_after_two_steps_of_training(folder, browser):
    from datasets.scenes.dataset import draw_scene

    Image.fromarray(draw_scene(0, 5, 96, 160)[0][:, :, ::-1].copy()).save(folder / "street.png")
    flags = ["--restore-from", "runs/a/CS_scenes_2.npz", "--input", "street.png", "--point", "20,30", "100,70"]
    printed = command(
        folder, "scripts/visualize_attention.py", *flags, "--output", "figures/new/at.png", "--html", "pages/at.html"
    )
    remark = next(line for line in printed.splitlines() if "gamma = " in line)
    assert "figure: figures/new/at.png\n" in printed and "page: pages/at.html, " in printed
    assert remark.startswith("Attention has almost no effect yet (gamma = ")
    figure = pixels(folder / "figures/new/at.png")
    assert is_framed(figure) and figure.shape[1] == 10 + 4 * 350
    assert (figure == (176, 58, 20)).all(-1).sum() > 500  # the remark, as a warning
    browser.open(folder / "pages/at.html", ready=FINISHED)
    assert browser.value("$('remark').textContent") == remark and browser.messages == []
    assert browser.value("$('remark').className") == "warning"
    assert browser.value("document.documentElement.scrollWidth") == 1280


def test_report_of_the_run_and_of_the_evaluation(folder, browser):
    assert "report: runs/a/report.html" in command(folder, "scripts/report.py", "runs/a")
    printed = command(folder, "scripts/report.py", "runs/a/outputs", "--output", "pages/deep/evaluation.html")
    assert "report: pages/deep/evaluation.html" in printed
    gamma = read_log(folder / "runs/a/log.csv")["gamma"][-1]
    assert 0 < gamma < 0.01 and f">{gamma:.3g}<" in (folder / "runs/a/report.html").read_text()  # not 0.000
    for page, width in (("runs/a/report.html", 390), ("pages/deep/evaluation.html", 1280)):
        browser.open(folder / page, width, mobile=width < 500)
        assert browser.messages == [] and browser.value("document.documentElement.scrollWidth") == width
        assert browser.value("Array.from(document.images).every(i => i.complete && i.naturalWidth > 0)")


def test_plot_log_writes_to_the_given_path(folder):
    printed = command(folder, "scripts/plot_log.py", "runs/a", "runs/a/log.csv", "--out", "plots/new/curves.png")
    assert printed.endswith("curves in plots/new/curves.png\n") and is_framed(pixels(folder / "plots/new/curves.png"))
    assert json.loads(printed.splitlines()[0])["mean_relative_error"] == 0
    absolute = folder / "plots" / "two.svg"
    printed = command(folder, "scripts/plot_log.py", "runs/a", "runs/a/log.csv", "--out", absolute)
    assert printed.endswith(f"curves in {absolute}\n")
    drawing = ElementTree.parse(absolute).getroot()
    assert len(list(drawing.iter(f"{SVG}polyline"))) == 2
    assert (
        "curves in curves.png" in command(folder, "scripts/plot_log.py", "runs/a") and (folder / "curves.png").is_file()
    )
    printed = command(folder, "scripts/plot_log.py", "runs/a", "--out", "curves.pdf", fails=True)
    assert "'curves.pdf' must end in .png or .svg" in printed and not (folder / "curves.pdf").exists()


def test_the_figures_of_the_readme(folder):
    assert "figures: readme/images" in command(
        folder, "scripts/draw_figures.py", "--run", "runs/a", "--out", "readme/images"
    )
    drawn = {path.name for path in (folder / "readme/images").iterdir()}
    assert drawn == {"architecture.svg", "criss_cross.svg", "attention.png", "demo.png"}
    assert ElementTree.parse(folder / "readme/images/architecture.svg").getroot().tag == f"{SVG}svg"
