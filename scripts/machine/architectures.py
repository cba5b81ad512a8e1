"""Which GPUs an nvcc can compile for, and the script in its place that passes on what Jittor asks for.

A GPU of compute capability 7.0 (V100) needs code for sm_70, which CUDA 13 no longer makes. A GPU newer than the toolkit
runs PTX of the newest architecture that nvcc knows: its driver compiles it.
"""

import re

from utils.runtime import PREPARE, MachineError

BY_VERSION = {(0, 0): (35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75), (11, 0): (80,), (11, 1): (86,), (11, 8): (89, 90)}

NVCC = """#!/bin/bash
# From scripts/prepare_jittor.py. Jittor passes -std=c++14 and "-arch=compute_90 -code=sm_90": CUDA 13 needs C++17, and
# an operator that passes its own -gencode (sm_90a, for example) is built for that architecture only. Several
# architectures get code of their own each, and one that nvcc does not know gets the newest code below it, with PTX,
# which the driver compiles for the GPU.
known=" @KNOWN@ "
own=0 codes=()
for word in "$@"; do
  case "$word" in
    -gencode*|--generate-code*) own=1 ;;
    -code=sm_*) codes+=("${word#-code=sm_}") ;;
  esac
done
instead=()
if [ $own = 0 ] && { [ ${#codes[@]} -gt 1 ] || [[ "$known" != *" ${codes[0]:-} "* ]]; }; then
  for code in "${codes[@]}"; do
    arch=$code made=sm_$code
    if [[ "$known" != *" $code "* ]]; then
      for below in $known; do [ "$below" -lt "$code" ] && arch=$below; done
      made=compute_$arch
      [ $((arch / 10)) = $((code / 10)) ] && made="[sm_$arch,compute_$arch]"
    fi
    instead+=("-gencode=arch=compute_$arch,code=$made")
  done
fi
words=()
for word in "$@"; do
  case "$word" in
    -std=c++11|-std=c++14) word="@STANDARD@" ;;
    -arch=*|-code=*) [ $own = 1 ] || [ ${#instead[@]} -gt 0 ] && continue ;;
  esac
  words+=("$word")
done
exec "@NVCC@" "${words[@]}" "${instead[@]}"
"""


def nvcc_script(nvcc, version, known):
    standard = "-std=c++17" if version >= (13,) else "$word"
    known = " ".join(map(str, known))
    return NVCC.replace("@STANDARD@", standard).replace("@NVCC@", str(nvcc)).replace("@KNOWN@", known)


def known_to(listing, version):
    """The compute capabilities that an nvcc compiles for, in order. `listing`: the output of nvcc --list-gpu-arch,
    which older versions do not have."""
    listed = {int(number) for number in re.findall(r"^compute_(\d+)$", listing, re.M)}
    if not listed:
        listed = {arch for since, archs in BY_VERSION.items() if version >= since for arch in archs}
    return sorted(listed)


def check(archs, known, nvcc, version):
    """One error for GPUs that are older than the toolkit."""
    older = [arch for arch in archs if arch < known[0]]
    if not older:
        return
    names = ", ".join(f"sm_{arch}" for arch in older)
    card = " (V100)" if 70 in older else ""
    hide = "" if len(older) == len(archs) else ", or leave the older GPU out with CUDA_VISIBLE_DEVICES"
    release = f"CUDA {version[0]}.{version[1]} ({nvcc})"
    raise MachineError(
        f"{release} compiles for sm_{known[0]} and newer, and a GPU here is {names}{card}\n  Fix: install the toolkit "
        f"of CUDA 12 with its cuDNN, then nvcc_path=/usr/local/cuda-12/bin/nvcc {PREPARE}{hide}"
    )


def describe(archs, known):
    """For the report: sm_90, or what a newer GPU gets."""
    texts = []
    for arch in archs:
        below = max((number for number in known if number <= arch), default=arch)
        note = "" if below == arch else f" (as compute_{below}, which the driver compiles for it)"
        texts.append(f"sm_{arch}{note}")
    return ", ".join(texts)
