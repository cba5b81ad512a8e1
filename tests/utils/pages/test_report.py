"""The report of a run: complete and incomplete folders, and the page in a browser."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from utils.drawing.confusion_figure import CAPTION, confusion_figure
from utils.pages.report import ORDER, write_report
from utils.pages.run_folder import read_run

NAMES, PALETTE = ("road", "sky", "a <b> & c"), ((128, 64, 128), (70, 130, 180), (0, 0, 142))


def fill(folder, rng, steps=300, classes=3):
    """The files that train.py and evaluate.py write."""
    names = NAMES if classes == 3 else [f"class {k}" for k in range(classes)]
    options = {"num_steps": steps, "input_size": [96, 128], "ignore_label": None}
    args = {"model": "ccnet_r18", "dataset": "scenes", "recurrence": 2, "commit": "abc", "options": options}
    (folder / "args.json").write_text(json.dumps({**args, "command": ["train.py", "--data-dir", "<x>"]}))
    rows = ["step,loss,main,aux,lr,gamma,images_per_s,seconds,data_wait"]
    rows += [f"{k},{3 / k:.4f},{2 / k:.4f},{2.5 / k:.4f},0.01,{k / 1000},8.5,{k},0.1" for k in range(1, steps + 1)]
    (folder / "log.csv").write_text("\n".join(rows) + "\n17,0.")  # an incomplete line
    (folder / "validation.csv").write_text("step,miou,pixel_accuracy\n100,0.25,\n200,0.5,0.8\n300,0.75,0.9\n")
    counts = rng.integers(0, 50, (classes, classes + 1)) + 900 * np.eye(classes, classes + 1, dtype=int)
    counts[:, -1] = 0
    iou = dict(zip(names, [0.5, None] + [0.875] * (classes - 2)))
    result = {"miou": 0.6875, "miou_absent_as_zero": 0.4375, "pixel_accuracy": 0.9, "iou": iou, "images": 12}
    result.update(palette=PALETTE, settings={"step": steps, "options": {"split": "val"}})
    out = folder / "outputs"
    (out / "examples").mkdir(parents=True)
    (out / "result.json").write_text(json.dumps(result))
    write_rows(
        out / "confusion.csv", [["true \\ predicted", *names, "no class"]] + [[n, *r] for n, r in zip(names, counts)]
    )
    write_rows(
        out / "per_image.csv", [["name", "miou"], ["city/7", 0.95], ["b", 0.9], ["d", 0.2], ["e", 0.1], ["void", ""]]
    )
    for k, (group, rank) in enumerate((("best", 1), ("best", 2), ("worst", 2), ("worst", 3))):
        panels = [np.full((20, 30, 3), 10 + 60 * panel + k, np.uint8) for panel in range(4)]
        Image.fromarray(np.hstack(panels)).save(out / "examples" / f"{group}_{rank}.png")


def write_rows(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first <run>"
    folder.mkdir()
    fill(folder, np.random.default_rng(5))
    return folder


def test_page_shows_every_part(run):
    text = write_report(run).read_text()
    for words in (
        "first &lt;run&gt;",
        "68.8\u2009%",
        "ccnet_r18 · on scenes · R = 2 · commit abc · evaluated at step 300",
        "a &lt;b&gt; &amp; c",
        "train.py --data-dir &lt;x&gt;",
        "5 min 0 s",
        "city/7: mean IoU 95.0",
        "e: mean IoU 10.0",
        "<dt>miou absent as zero</dt><dd class='number'>43.8",
        "background:rgb(70 130 180)",
        "Worst images",
        "<dt>split</dt><dd>val</dd>",
        "<dt>input_size</dt><dd>96, 128</dd>",
    ):
        assert words in text, words
    charts = re.findall(r'class="title"[^>]*>([^<]+)<', text)
    assert charts == [*ORDER, "data wait"]
    assert "Not found in this folder" not in text and "{{" not in text and "://" not in text
    assert "<b>" not in re.sub(r"<b class='number'>", "", text)


def test_the_report_of_an_evaluation_includes_its_training(run):
    text = write_report(run / "outputs", run / "elsewhere.html").read_text()
    assert "Not found in this folder" not in text and "training time" in text and "68.8\u2009%" in text


@pytest.mark.parametrize("missing", ["args.json", "log.csv", "outputs/result.json", "outputs/examples"])
def test_missing_parts_are_listed(tmp_path, rng, missing):
    fill(tmp_path, rng)
    path = tmp_path / missing
    for file in [path] if path.is_file() else list(path.iterdir()):
        file.unlink()
    text = write_report(tmp_path).read_text()
    assert "Not found in this folder" in text and missing.split("/")[-1] in text


def test_damaged_parts_are_listed_and_the_page_is_written(tmp_path, rng):
    fill(tmp_path, rng)
    (tmp_path / "args.json").write_text('{"model": "ccn')
    (tmp_path / "outputs" / "result.json").write_text("[1]")
    (tmp_path / "outputs" / "examples" / "best_1.png").write_bytes(b"\x89PNG")
    (tmp_path / "outputs" / "confusion.csv").write_text("a,b\nc,d\n")
    (tmp_path / "outputs" / "per_image.csv").write_text("\n\n")
    text = write_report(tmp_path).read_text()
    assert "settings (args.json): cannot be read" in text and "result.json): not a JSON object" in text


def test_a_run_without_validation_and_confusion(tmp_path, rng):
    fill(tmp_path, rng)
    (tmp_path / "validation.csv").unlink()
    (tmp_path / "outputs" / "confusion.csv").unlink()
    text = write_report(tmp_path).read_text()
    assert "Not found in this folder: confusion matrix." in text and "87.5\u2009%" in text


def test_the_confusion_matrix_may_be_in_result_json(tmp_path, rng):
    fill(tmp_path, rng)
    counts = np.arange(9).reshape(3, 3)
    (tmp_path / "outputs" / "confusion.csv").unlink()
    result = json.loads((tmp_path / "outputs" / "result.json").read_text())
    (tmp_path / "outputs" / "result.json").write_text(json.dumps({**result, "confusion": counts.tolist()}))
    np.testing.assert_array_equal(read_run(tmp_path)["confusion"], counts)


def test_examples_are_named_by_their_rank_and_split_into_panels(run):
    examples = read_run(run)["examples"]
    assert [(name, score) for name, score, _ in examples["best"]] == [("city/7", 0.95), ("b", 0.9)]
    assert [(name, score) for name, score, _ in examples["worst"]] == [("e", 0.1), ("d", 0.2)]
    assert [int(panel[0, 0, 0]) for panel in examples["worst"][1][2]] == [13, 73, 133, 193]


def test_command_prints_the_path_of_the_page_or_the_error(run, run_command, tmp_path):
    done = run_command("python", "scripts/report.py", run, "--output", tmp_path / "page.html")
    assert done.returncode == 0 and (tmp_path / "page.html").is_file(), done.stderr
    for folder, words in ((tmp_path / "gone", "no folder"), (tmp_path, "neither args.json")):
        done = run_command("python", "scripts/report.py", folder)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("width, dark", [(390, True), (1600, False)])
def test_page_fits_the_window_and_shows_values_at_the_pointer(run, browser, width, dark):
    path = write_report(run)
    browser.open(path, width, 900, dark, mobile=width < 500)
    assert browser.messages == [] and browser.value("document.documentElement.scrollWidth") == width
    assert [r for r in browser.requests if not r.startswith("data:")] == [path.resolve().as_uri()]
    images = "Array.from(document.images).every(i => i.complete && i.naturalWidth > 0 && i.alt)"
    assert browser.value("document.images.length") == 4 * 4 and browser.value(images)
    assert browser.value("Array.from(document.querySelectorAll('svg.chart')).every(c => c.getAttribute('aria-label'))")
    size = browser.value(
        "Math.min(...Array.from(document.querySelectorAll('.chart .small'), t => t.getBoundingClientRect().height))"
    )
    assert size > 9  # text stays legible
    script = """(chart => {
        const box = chart.getBoundingClientRect();
        const at = {clientX: box.left + box.width * 0.9, clientY: box.top + 50};
        chart.dispatchEvent(new PointerEvent('pointermove', at));
        return chart.parentElement.querySelector('figcaption').textContent;
    })(document.querySelectorAll('svg.chart')[0])"""
    assert re.fullmatch(r"step \d+: loss [\d.]+, main [\d.]+, aux [\d.]+", browser.value(script))


def test_the_confusion_matrix_of_many_classes_is_the_figure_of_evaluate(tmp_path, rng, browser):
    fill(tmp_path, rng, classes=40)
    path = write_report(tmp_path)
    assert all(text in path.read_text() for text in ("Most confused", "predicted as class", CAPTION))
    browser.open(path, 390, 844, mobile=True)
    assert browser.messages == [] and browser.value("document.documentElement.scrollWidth") == 390
    figure = confusion_figure(read_run(tmp_path)["confusion"], [f"class {k}" for k in range(40)])
    size = "(i => [i.naturalWidth, i.naturalHeight])(document.querySelector('img.matrix'))"
    assert tuple(browser.value(size)) == figure.size
