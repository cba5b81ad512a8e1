"""Every command line and every snippet of Python that the project prints runs: extracted by printed.py, cut to a small
size by printed_rules.py, in a folder made by printed_files.py. runs/printed_commands.txt lists them with exit codes.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import printed
import printed_files
import printed_rules
import pytest

REPORT = printed.ROOT / "runs" / "printed_commands.txt"
PRINTED = printed.everything()


def commands():
    """{(command, last line or None): [Printed]}: a command that is printed in several places runs once."""
    results = {}
    for one in PRINTED:
        if printed_rules.reason(one) is None:
            for run in printed_rules.as_run(one):
                results.setdefault(run, []).append(one)
    return results


COMMANDS = commands()


def label(run):
    return re.sub(r"[^\w.,/-]+", " ", run[0].split("\n")[-1])[:90].strip() + (" (refused)" if run[1] else "")


@pytest.fixture(scope="session")
def session(tmp_path_factory):
    """A folder that all worker processes of this pytest run share."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "printed"


@pytest.fixture(scope="session")
def workshop(session):
    return printed_files.Workshop(session / "made")


@pytest.fixture
def folder(tmp_path):
    """Emptied at the end: checkpoints of ResNet-101 have 600 MB."""
    yield tmp_path / "project"
    shutil.rmtree(tmp_path / "project", ignore_errors=True)


def execute(command, folder):
    """Run a command as a user types it, in a process group of its own. -> (exit code, output)."""
    places = {name: str(folder / name) for name in ("YOUR_CS_PATH", "YOUR_DATASET_PATH", "data_path")}
    env = {**os.environ, **places, "VENV": sys.prefix, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    env["PATH"] = f"{Path(sys.prefix) / 'bin'}:{env['PATH']}"
    env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")  # tests may run as root, in a container
    env.update(PRTE_MCA_rmaps_default_mapping_policy=":oversubscribe", OMPI_MCA_rmaps_base_oversubscribe="1")
    env.update(PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1")  # nothing is installed by a test
    words = ["bash", "-o", "pipefail", "-c", command]
    with open(folder / "output.txt", "w") as out:
        process = subprocess.Popen(
            words, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(600)
        except subprocess.TimeoutExpired:
            code = "none after 600 s"
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return code, (folder / "output.txt").read_text(errors="replace")


@pytest.mark.parametrize("run", COMMANDS, ids=label)
def test_what_is_printed_runs(run, workshop, folder, session):
    command, refusal = run
    if refusal and re.search("GPU|cuda", refusal) and has_gpu():
        pytest.skip("ends in an error only where there is no GPU")
    workshop.sandbox(folder, printed_rules.reads(command))
    if COMMANDS[run][0].language == "python":
        (folder / "snippet.py").write_text(command)
        command = "python snippet.py"
    elif "pre-commit install" in command:
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    began = time.time()
    code, output = execute(command, folder)
    report(session, run, code, time.time() - began)
    if refusal is None:
        assert code == 0, f"{command}\n{output[-6000:]}"
    else:
        assert code not in (0, "none after 600 s") and "Traceback" not in output, output[-6000:]
        assert re.search(refusal, output.strip().replace("\n", " ")), output[-3000:]


def has_gpu():
    from utils import runtime

    return runtime.count_gpus()[0] > 0


def report(session, run, code, seconds):
    """One line per printed command; rewritten after each, because several processes may write it."""
    with open(session / "report.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = json.loads((session / "report.json").read_text()) if (session / "report.json").exists() else {}
        rows[run[0] + (" (refused)" if run[1] else "")] = (code, round(seconds, 1))
        (session / "report.json").write_text(json.dumps(rows))
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(report_text(rows))


def report_text(rows):
    lines = []
    for one in PRINTED:
        text = " ".join(one.text.split())
        why = printed_rules.reason(one)
        if why:
            lines.append(f"{one.place}: {text}\n    not run: {why}")
            continue
        for command, refusal in printed_rules.as_run(one):
            row = rows.get(command + (" (refused)" if refusal else ""))
            if row:
                ends = f"exit code {row[0]}{' as it should' if refusal else ''}, {row[1]} s"
                lines.append(f"{one.place}: {text}\n    {ends}: {' '.join(command.split())}")
    return "\n".join([f"{len(lines)} printed commands", *lines, ""])


def test_each_exception_is_printed_and_has_a_reason():
    """A command runs, or it is in NOT_RUN; and NOT_RUN has only commands that are printed."""
    listed = {re.sub(r"\s+#.*", "", one.text.split("\n")[0]) for one in PRINTED if printed_rules.reason(one)}
    assert listed == set(printed_rules.NOT_RUN)
    for pattern, _line in printed_rules.REFUSED:
        assert any(refusal and re.search(pattern, command) for command, refusal in COMMANDS), pattern


def test_every_text_is_read():
    """Pages of all rooms, programs, scripts and each published page give commands."""
    places = {one.place for one in PRINTED}
    assert {"README.md", "README.zh-CN.md", "CONTRIBUTING.md", "train.py", "run_local.sh"} <= places
    rooms = (
        "models",
        "models/cca",
        "datasets",
        "utils/weights",
        "scripts",
        "scripts/recipes",
        "scripts/machine",
        "tests",
    )
    assert {f"{room}/README.md" for room in rooms} <= places
    pages = {"official", "pure-pytorch", "ann-lab", "ade20k", "mmsegmentation"}
    assert {place.split(",")[0] for place in places if place.endswith(", published")} == pages
    assert len(COMMANDS) > 100


def test_commands_are_found_in_every_kind_of_text(tmp_path):
    text = "see `python a.py --x\n1` and `a.py`\n```bash\n$ b \\\n  --c  # d\n```\n```\ntree\npython c.py -v\n```\n"
    assert [one.text for one in printed.page("p", text)] == ["b --c", "python c.py -v", "python a.py --x 1"]
    text = '"""Title: python e.py --x.\n\n    scripts/f.sh -g   # note\n    ... --h 1\n\na = f(1)\n"""\n'
    text += 'E = "python g.py -i"\nA(epilog=E)\n'
    results = [(one.language, one.text) for one in printed.module("m", text)]
    shell = ["python e.py --x", "scripts/f.sh -g", "scripts/f.sh -g --h 1"]
    assert results == [*(("shell", one) for one in shell), ("python", "a = f(1)"), ("shell", "python g.py -i")]
    assert [one.text for one in printed.shell_script("s", "#!/bin/sh\n# Title\n#   ./s.sh A\nls\n# ./t.sh B\n")] == [
        "./s.sh A"
    ]


def test_the_rules_on_a_few_commands():
    cut = "--num-steps 2 --input-size 65,65 --batch-size 2"
    drawn = f"--model ccnet_r18 --dataset scenes {cut} --scene-size 64,128"
    shell = {
        "mpirun -np 4 python train.py --num-workers 8 ...": f"mpirun -np 2 python train.py --num-workers 1 {drawn}",
        "./run_local.sh D [more flags]": f"./run_local.sh D {cut} --num-workers 1 --eval-every 2 --eval-images 1 "
        "--eval-input-size 65,65 --eval-short-side 64 --ohem-keep 1000",
        "python run_ccnet.py --config c.py": f"cd scripts/recipes && python run_ccnet.py --config c.py {cut}",
        "scripts/demo.sh && python a.py --data-dir /data/d": "test -f runs/demo/CS_scenes_500.npz && "
        "python a.py --data-dir $PWD/data/d",
        "a/benchmark/cca.py --sizes 97,97 128,256 --only b": "a/benchmark/cca.py --sizes 9,9 --only b --repeats 1",
    }
    for text, wanted in shell.items():
        assert printed_rules.as_run(printed.Printed("p", text, "shell")) == [(wanted, None)]
    both = printed_rules.as_run(printed.Printed("p", "python evaluate.py --model [a,b] 2>&1 | tee log", "shell"))
    assert [run for run, _ in both] == [f"python evaluate.py --model {m} --eval-images 2 2>&1 | tee log" for m in "ab"]
    words = printed_rules.reads("python convert_weights.py ./dataset/a.pth b.npz --data-dir ${D} --out y")
    assert {"dataset/a.pth", "D"} <= set(words) and not {"b.npz", "y"} & set(words)
