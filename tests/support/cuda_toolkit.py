"""Imitations of a CUDA toolkit and of NVIDIA's wheels; their nvcc prints its arguments."""

LIBRARIES = {"cublas": 13, "cublasLt": 13, "curand": 10, "cufft": 12, "cusparse": 12}


def files(folder, *names, text=""):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def toolkit(folder, version="13.0", known=(75, 80, 90, 100)):
    """A toolkit that contains only nvcc and the runtime."""
    files(
        folder, "include/cuda_runtime.h", "include/crt/inside.h", "lib64/libcudart.so.13.0.96", "lib64/libcudadevrt.a"
    )
    files(folder, "bin/nvcc")
    (folder / "bin/nvcc").write_text(
        f'#!/bin/sh\ncase "$1" in\n--version) echo "Cuda compilation tools, release {version}, V{version}.88" ;;\n'
        f"--list-gpu-arch) for n in {' '.join(map(str, known))}; do echo compute_$n; done ;;\n"
        f'--dryrun) echo "#$ TOP={folder}/bin/.." >&2 ;;\n*) for word in "$@"; do echo "$word"; done ;;\nesac\n'
    )
    (folder / "bin/nvcc").chmod(0o755)
    return folder


def cudnn(folder, version):
    numbers = zip(("MAJOR", "MINOR", "PATCHLEVEL"), version)
    text = "".join(f"#define CUDNN_{name} {number}\n" for name, number in numbers)
    files(folder, "include/cudnn_version.h", text=text)
    files(folder, "include/cudnn.h")
    parts = ("", "_ops", "_cnn") if version[0] > 8 else ("", "_ops_infer", "_ops_train", "_cnn_infer", "_cnn_train")
    files(folder, *(f"lib/libcudnn{part}.so.{version[0]}" for part in parts))


def wheels(site, suffix="cu13"):
    """site-packages with the wheels of CUDA 13: only versioned library names."""
    for name, version in LIBRARIES.items():
        files(site / "nvidia/cu13", f"include/{name}.h", f"lib/lib{name}.so.{version}")
    cudnn(site / "nvidia/cudnn", (9, 19, 0))
    files(site / "nvidia/nccl", "include/nccl.h", "lib/libnccl.so.2")
    files(site, f"nvidia_cudnn_{suffix}-9.19.0.56.dist-info/METADATA")
    return site
