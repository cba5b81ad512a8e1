"""The page of a run: from what the run left, with what is missing named, and as it looks in a browser."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

from utils.drawing.figures import running_mean
from utils.drawing.svg_chart import line_chart, log_ticks, short, thin
from utils.pages.report import write_report
from utils.pages.run_folder import read_run

NAMES, PALETTE = ("road", "sky", "a <b> & c"), ((128, 64, 128), (70, 130, 180), (0, 0, 142))


def fill(folder, rng, steps=300, classes=3):
    """A folder as train.py and evaluate.py leave it."""
    names = NAMES if classes == 3 else [f"class {k}" for k in range(classes)]
    options = {"num_steps": steps, "input_size": [96, 128], "ignore_label": None}
    args = {"model": "ccnet_r18", "dataset": "scenes", "recurrence": 2, "commit": "abc", "options": options}
    (folder / "args.json").write_text(json.dumps({**args, "command": ["train.py", "--data-dir", "<x>"]}))
    rows = ["step,loss,main,aux,lr,gamma,images_per_s,seconds,data_wait"]
    rows += [f"{k},{3 / k:.4f},{2 / k:.4f},{2.5 / k:.4f},0.01,{k / 1000},8.5,{k},0.1" for k in range(1, steps + 1)]
    (folder / "log.csv").write_text("\n".join(rows) + "\n17,0.")  # killed while it wrote
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
    for k, (kind, place) in enumerate((("best", 1), ("best", 2), ("worst", 2), ("worst", 3))):
        panels = [np.full((20, 30, 3), 10 + 60 * panel + k, np.uint8) for panel in range(4)]
        Image.fromarray(np.hstack(panels)).save(out / "examples" / f"{kind}_{place}.png")


def write_rows(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first <run>"
    folder.mkdir()
    fill(folder, np.random.default_rng(5))
    return folder


def test_page_holds_every_part(run):
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
        "Worst pictures",
        "<dt>split</dt><dd>val</dd>",
        "<dt>input_size</dt><dd>96, 128</dd>",
    ):
        assert words in text, words
    charts = re.findall(r'class="title"[^>]*>([^<]+)<', text)
    assert charts[:6] == [
        "loss",
        "mean IoU",
        "accuracy",
        "learning rate",
        "γ of the attention",
        "pictures per second",
    ] and charts[6:] == ["data wait"]
    assert "Not in this folder" not in text and "{{" not in text and "://" not in text
    assert "<b>" not in re.sub(r"<b class='number'>", "", text)


def test_folder_of_an_evaluation_knows_its_training(run):
    text = write_report(run / "outputs", run / "elsewhere.html").read_text()
    assert "Not in this folder" not in text and "training time" in text and "68.8\u2009%" in text


@pytest.mark.parametrize("missing", ["args.json", "log.csv", "outputs/result.json", "outputs/examples"])
def test_what_is_missing_is_named_and_left_out(tmp_path, rng, missing):
    fill(tmp_path, rng)
    path = tmp_path / missing
    for file in [path] if path.is_file() else list(path.iterdir()):
        file.unlink()
    text = write_report(tmp_path).read_text()
    assert "Not in this folder" in text and missing.split("/")[-1] in text


def test_damaged_parts_are_named_and_the_page_is_made(tmp_path, rng):
    fill(tmp_path, rng)
    (tmp_path / "args.json").write_text('{"model": "ccn')
    (tmp_path / "outputs" / "result.json").write_text("[1]")
    (tmp_path / "outputs" / "examples" / "best_1.png").write_bytes(b"\x89PNG")
    (tmp_path / "outputs" / "confusion.csv").write_text("a,b\nc,d\n")
    (tmp_path / "outputs" / "per_image.csv").write_text("\n\n")
    text = write_report(tmp_path).read_text()
    assert "settings (args.json): cannot be read" in text and "result.json): not what it should be" in text


def test_a_run_without_validation_and_confusion(tmp_path, rng):
    fill(tmp_path, rng)
    (tmp_path / "validation.csv").unlink()
    (tmp_path / "outputs" / "confusion.csv").unlink()
    text = write_report(tmp_path).read_text()
    assert "Not in this folder, so not on this page: confusion matrix." in text and "87.5\u2009%" in text


def test_confusion_may_stand_in_the_result(tmp_path, rng):
    fill(tmp_path, rng)
    counts = np.arange(9).reshape(3, 3)
    (tmp_path / "outputs" / "confusion.csv").unlink()
    result = json.loads((tmp_path / "outputs" / "result.json").read_text())
    (tmp_path / "outputs" / "result.json").write_text(json.dumps({**result, "confusion": counts.tolist()}))
    np.testing.assert_array_equal(read_run(tmp_path)["confusion"], counts)


def test_examples_are_named_by_their_place_and_cut_into_panels(run):
    found = read_run(run)["examples"]
    assert [(name, score) for name, score, _ in found["best"]] == [("city/7", 0.95), ("b", 0.9)]
    assert [(name, score) for name, score, _ in found["worst"]] == [("e", 0.1), ("d", 0.2)]
    assert [int(panel[0, 0, 0]) for panel in found["worst"][1][2]] == [13, 73, 133, 193]


def test_command_says_where_the_page_is_and_what_is_wrong(run, run_command, tmp_path):
    done = run_command("python", "scripts/report.py", run, "--output", tmp_path / "page.html")
    assert done.returncode == 0 and (tmp_path / "page.html").is_file(), done.stderr
    for folder, words in ((tmp_path / "gone", "no folder"), (tmp_path, "neither args.json")):
        done = run_command("python", "scripts/report.py", folder)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("width, dark", [(390, True), (1600, False)])
def test_page_opens_fits_and_reads_out_values(run, browser, width, dark):
    path = write_report(run)
    browser.open(path, width, 900, dark, mobile=width < 500)
    assert browser.complaints == [] and browser.value("document.documentElement.scrollWidth") == width
    assert [r for r in browser.requests if not r.startswith("data:")] == [path.resolve().as_uri()]
    images = "Array.from(document.images).every(i => i.complete && i.naturalWidth > 0 && i.alt)"
    assert browser.value("document.images.length") == 4 * 4 and browser.value(images)
    assert browser.value("Array.from(document.querySelectorAll('svg.chart')).every(c => c.getAttribute('aria-label'))")
    size = browser.value(
        "Math.min(...Array.from(document.querySelectorAll('.chart .small'), t => t.getBoundingClientRect().height))"
    )
    assert size > 9  # letters stay legible
    script = """(chart => {
        const box = chart.getBoundingClientRect();
        const at = {clientX: box.left + box.width * 0.9, clientY: box.top + 50};
        chart.dispatchEvent(new PointerEvent('pointermove', at));
        return chart.parentElement.querySelector('figcaption').textContent;
    })(document.querySelectorAll('svg.chart')[0])"""
    assert re.fullmatch(r"step \d+: loss [\d.]+, main [\d.]+, aux [\d.]+", browser.value(script))


def test_many_classes_make_a_picture_of_the_matrix(tmp_path, rng, browser):
    fill(tmp_path, rng, classes=40)
    path = write_report(tmp_path)
    assert "Most confused" in path.read_text() and "taken for class" in path.read_text()
    browser.open(path, 390, 844, mobile=True)
    assert browser.complaints == [] and browser.value("document.querySelector('img.matrix').naturalWidth") == 41


# -------------------------------------------------------------------------------------------------------------- charts


def test_chart_keeps_extremes_ends_and_leaves_out_what_is_not_finite():
    xs = list(range(5000))
    ys = [1.0] * 5000
    ys[1234], ys[4321] = 9.0, -5.0
    kept = thin(xs, ys)
    assert len(kept[0]) <= 480 and (1234, 9.0) in zip(*kept) and (4321, -5.0) in zip(*kept)
    chart = line_chart({"a": ([1, 2, 3], [1.0, float("nan"), 2.0]), "b": ([], [])}, "t", "step")
    assert chart.count("<polyline") == 1 and "a from 1 to 2" in chart
    assert line_chart({"a": ([1], [float("nan")])}, "t") == ""


def test_running_mean_is_right_from_its_start():
    assert running_mean([2.0, 2.0, 2.0], 0.9) == pytest.approx([2.0, 2.0, 2.0])
    assert running_mean([0.0, 1.0], 0.5) == pytest.approx([0.0, 2 / 3])


@pytest.mark.parametrize(
    "value, text", [(0, "0"), (0.25, "0.25"), (5e-4, "5e-4"), (40000, "40k"), (2e6, "2M"), (1000, "1000")]
)
def test_ticks_are_short(value, text):
    assert short(value) == text


def test_logarithmic_ticks_surround_the_values():
    assert log_ticks(3, 40) == [2, 5, 10, 20, 50] and log_ticks(1, 1e6) == [10.0**k for k in range(7)]


def test_a_chart_has_whole_steps_all_names_and_its_peak():
    """Two steps; six runs whose names fill three lines; one spike among 400 smoothed values."""
    steps = re.findall(r'text-anchor="(?:middle|end)">([^<]+)</text>', line_chart({"a": ([1, 2], [5.0, 6.0])}, "t"))
    assert not {"1.2", "1.5", "1.8"} & set(steps) and "2" in steps
    curves = {f"/a/long/path/to/a/run/number_{k}/log.csv": ([1, 2], [k, k + 1.0]) for k in range(6)}
    width, height = 860, 420
    drawn = line_chart(curves, "t", size=(width, height))
    names = [(float(x), float(y), name) for x, y, name in re.findall(r'x="([\d.]+)" y="([\d.]+)">(/a[^<]+)<', drawn)]
    assert len(names) == 6 and all(x + 6.5 * len(name) < width for x, _, name in names)
    first_grid = float(re.search(r'class="grid" d="M52 ([\d.]+)', drawn).group(1))
    assert max(y for _, y, _ in names) < first_grid
    ys = [2.0] * 400
    ys[200] = 9.0
    drawn = line_chart({"loss": (list(range(400)), ys)}, "t", smooth=0.9, size=(width, height))
    raw = re.search(r'class="raw s0" points="([^"]+)"', drawn).group(1)
    heights = [float(point.split(",")[1]) for point in raw.split()]
    bottom = height - 26
    assert (bottom - min(heights)) / (bottom - max(heights)) == pytest.approx(9 / 2, rel=0.01)
