"""The repairs to Jittor, on copies of the files they change: applied, refused and undone byte for byte."""

import shutil
import sys

import pytest

from scripts import prepare_jittor
from scripts.machine import bare_import, cuda_repairs, repair, repairs
from utils import machine, runtime

CUDA_13 = {"cuda": (13, 0), "cudnn": (9, 19, 0)}
CUDA_11 = {"cuda": (11, 7), "cudnn": (8, 5, 0)}
EVERYWHERE = ["parallel-compiler", "compiler-threads", "operator-header", "quick-import"]
EVERYWHERE += ["numpy-2", "python-3.13", "python-3.14", "g++-16"]
FOR_ANY_CUDNN = ["conv-tensor-cores", "conv-algorithms", "conv-workspace"]


@pytest.fixture
def jittor(tmp_path):
    """Copies of the installed files that repairs change, as published."""
    source, copy = repair.jittor_folder(), tmp_path / "site" / "jittor"
    names = {file for _, _, _, edits, asides in repairs.REPAIRS for file in (*(edit[0] for edit in edits), *asides)}
    for name in {"__init__.py", *names}:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        renamed = source / (name + repair.ASIDE)
        shutil.copyfile(source / name if (source / name).exists() else renamed, copy / name)
    restore(copy)
    return copy


def restore(copy):
    for _name, _why, _when, edits, _asides in repairs.REPAIRS:
        for file, texts in edits:
            text = (copy / file).read_bytes().decode()
            for old, new, _count in texts:
                text = text.replace(new, old)
            (copy / file).write_bytes(text.encode())


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_repair_finds_its_text_and_is_undone_byte_for_byte(jittor):
    published = contents(jittor.parent)  # with jittor_utils
    names = [name for name, *_ in repairs.REPAIRS]
    lines = repair.apply(jittor, yes=True)
    assert len(lines) == len(EVERYWHERE) and all("applied now" in line for line in lines)
    lines += repair.apply(jittor, CUDA_13, yes=True)
    assert [line.split(":")[0] for line in lines] == names and all("applied now" in line for line in lines)
    repaired = contents(jittor.parent)
    changed = {name for name in published if published[name] != repaired.get(name)}
    assert len(changed) == 4 + 6 + 6 + 5 + 1 + len(cuda_repairs.RNN) and "jittor/__init__.py" not in changed
    again = repair.apply(jittor, yes=True) + repair.apply(jittor, CUDA_13, yes=True)
    assert contents(jittor.parent) == repaired and all("in place" in line for line in again)
    assert repair.undo(jittor) == names and contents(jittor.parent) == published
    assert repair.undo(jittor) == [] and contents(jittor.parent) == published


def test_the_repaired_files_contain_the_new_code(jittor):
    repair.apply(jittor, CUDA_13, yes=True)
    transpose = (jittor / "src/ops/transpose_op.cc").read_text()
    assert transpose.index('has_op("cutt_transpose")') < transpose.index(
        "gpu_transpose(x, axes)"
    )  # cutt is tried first
    assert transpose.index("gpu_transpose(x, axes)") < transpose.index("y = create_output")
    for name in cuda_repairs.CONVOLUTIONS:
        text = (jittor / name).read_text()
        assert "CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT" in text and '"@Ty,"' in text
    depthwise = (jittor / "depthwise_conv.py").read_text()
    assert "LaneId" not in depthwise and "WarpReduce" not in depthwise
    compile(depthwise, "depthwise_conv.py", "exec")
    assert "computeMode ==" not in (jittor / "extern/cuda/inc/helper_cuda.h").read_text()
    assert not list(jittor.rglob("*rnn*.cc")) and len(list(jittor.rglob("*rnn*" + repair.ASIDE))) == 6


def test_older_cuda_gets_only_the_repairs_it_needs(jittor):
    lines = repair.apply(jittor, CUDA_11, yes=True)
    names = ["transpose", "conv-float32", "depthwise", "device-count", "newer-gpus", *FOR_ANY_CUDNN]
    assert [line.split(":")[0] for line in lines] == names
    assert "computeMode ==" in (jittor / "extern/cuda/inc/helper_cuda.h").read_text()
    repair.apply(jittor, CUDA_13, yes=True)
    lines = repair.apply(jittor, CUDA_11, yes=True)  # an older toolkit: other repairs are undone
    assert len(lines) == len(names)
    assert (jittor / cuda_repairs.RNN[0]).is_file()


def test_another_version_is_refused(jittor):
    text = (jittor / "__init__.py").read_text()
    for version in ("1.3.12.0", "1.3.110.0", "1.4.0"):
        (jittor / "__init__.py").write_text(text.replace("1.3.11.0", version, 1))
        before = contents(jittor)
        for call in (lambda: repair.apply(jittor, CUDA_13, yes=True), lambda: repair.undo(jittor)):
            with pytest.raises(runtime.MachineError, match=rf"for Jittor 1.3.11, and .* is {version}: nothing was"):
                call()
        assert contents(jittor) == before


@pytest.mark.parametrize("file", ["src/ops/transpose_op.cc", cuda_repairs.CONVOLUTIONS[-1], cuda_repairs.RNN[2]])
def test_a_changed_file_is_refused_and_nothing_is_written(jittor, file):
    """A text that is missing or occurs twice, or a missing file: no other repair is applied either."""
    path = jittor / file
    if file in cuda_repairs.RNN:
        path.unlink()
    else:
        path.write_text(
            path.read_text().replace("auto var", "auto  var").replace("CORRELATION, get", "CORRELATION,  get")
        )
    before = contents(jittor)
    with pytest.raises(runtime.MachineError, match="neither as published nor as repaired; nothing was changed\n  Fix"):
        repair.apply(jittor, CUDA_13, yes=True)
    assert contents(jittor) == before


def test_a_system_jittor_needs_yes(jittor):
    before = contents(jittor)
    with pytest.raises(runtime.MachineError, match="is not in an environment of this project.*\n.*--yes"):
        repair.apply(jittor, CUDA_13)
    assert contents(jittor) == before


def test_which_folders_belong_to_this_environment(tmp_path):
    belongs = repair.belongs_to_this_environment
    inside = tmp_path / "venv/lib/site-packages/jittor"
    conda = tmp_path / "conda/envs/ccnet"
    (conda / "conda-meta").mkdir(parents=True)
    assert belongs(inside, tmp_path / "venv", "/usr")
    assert not belongs(inside, "/usr", "/usr") and not belongs("/usr/lib/python3/jittor", "/usr", "/usr")
    assert not belongs("/usr/lib/python3/jittor", tmp_path / "venv", "/usr")  # seen through --system-site-packages
    assert belongs(conda / "lib/jittor", conda, conda)
    base = tmp_path / "conda"
    (base / "conda-meta").mkdir()
    assert not belongs(base / "lib/jittor", base, base)


def test_undo_prints_what_it_undoes_and_changes_the_record(jittor, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(repair, "jittor_folder", lambda: jittor)
    monkeypatch.setattr(machine, "RECORD", tmp_path / "machine.json")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.delenv("use_parallel_op_compiler", raising=False)
    (tmp_path / "cuda").mkdir()
    machine.RECORD.write_text('{"mpicc": "/usr/bin/mpicc", "parallel_compiler": true, "cuda": {"nvcc": "/nvcc"}}')
    repair.apply(jittor, yes=True)
    assert machine.environment("cpu")["use_parallel_op_compiler"] != "0"
    bare_import.site_folder().mkdir(parents=True)
    assert tmp_path in bare_import.site_folder().parents and "uses the settings above" in bare_import.install()
    prepare_jittor.undo()
    printed = capsys.readouterr().out
    assert printed.startswith(f"undone in {jittor}: {', '.join(EVERYWHERE)}\n")
    assert printed.count(f"removed {bare_import.site_folder()}/ccnet_") == 3 and not list(tmp_path.rglob("ccnet_*"))
    assert machine.read_record() == {"mpicc": "/usr/bin/mpicc"} and not (tmp_path / "cuda").exists()
    assert machine.environment("cpu")["use_parallel_op_compiler"] == "0"
    prepare_jittor.undo()
    assert capsys.readouterr().out == f"{jittor} is as published: nothing to undo\n"


def test_without_the_repair_operators_are_compiled_one_at_a_time(jittor, monkeypatch):
    monkeypatch.setattr(repair, "jittor_folder", lambda: jittor)
    before = contents(jittor)
    parallel, lines = prepare_jittor.repair_compiler(yes=False)
    assert not parallel and "one at a time" in lines[0] and "not in an environment" in lines[0]
    assert contents(jittor) == before and prepare_jittor.repair_compiler(yes=True)[0]
