#!/usr/bin/env python3
"""Compiles the kernels in CUDA C++ with NVRTC, as the trainer does at run time, but without a GPU.

Prints the registers of a thread of each kernel, and the bytes of them that it spills. Fails on errors and warnings. NVRTC is that of an installed
PyPI package nvidia-cuda-nvrtc, or one that is installed to a temporary folder; ends with 77 where neither can be had.

    scripts/check_cuda.py [--sources FOLDER]
"""

import argparse
import ctypes
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "nvidia-cuda-nvrtc>=13,<14"
# A100, H100 and H200, B200; the suffix allows what only that generation has, as CubeCL does
ARCHITECTURES = ["sm_80", "sm_90a", "sm_100a"]


def installed(folders):
    found = (path for folder in folders for path in Path(folder).glob("nvidia/**/libnvrtc.so.*"))
    return next(found, None)


def nvrtc(scratch):
    """The library, or None."""
    path = installed(p for p in sys.path if p)
    if path is None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", scratch, PACKAGE]
        if subprocess.run(command).returncode != 0:
            return None
        path = installed([scratch])
    # compiles with the file beside it, which it finds once that is loaded
    for builtins in path.parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins))
    return ctypes.CDLL(str(path))


def log_of(library, program):
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    return log.value.decode().strip()


def compiled(library, source, architecture):
    """Whether it compiles, and what the compiler says."""
    program = ctypes.c_void_p()
    text = source.read_bytes()
    created = library.nvrtcCreateProgram(ctypes.byref(program), text, source.name.encode(), 0, None, None)
    assert created == 0, f"nvrtcCreateProgram gives {created}"
    # CubeCL's options, and the count of registers
    options = [f"--gpu-architecture={architecture}", "-lineinfo", "--ptxas-options=-v"]
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    result = library.nvrtcCompileProgram(program, len(options), array)
    log = log_of(library, program)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return result == 0, log


def resources(log):
    """Registers and the bytes of them that are spilled, as far as the compiler says so."""
    patterns = [r"Used (\d+) registers", r"(\d+) bytes spill stores"]
    found = [re.search(pattern, log) for pattern in patterns]
    return [match.group(1) if match else "?" for match in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, help="the folder of sources, if it is there already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        library = nvrtc(scratch + "/nvrtc")
        if library is None:
            print("left out: there is no NVRTC, and pip cannot install one")
            return 77
        folder = arguments.sources or Path(scratch) / "sources"
        if arguments.sources is None:
            command = ["cargo", "run", "--quiet", "--release", "-p", "kernels", "--example", "cuda_sources", "--"]
            subprocess.run([*command, folder], cwd=ROOT, check=True)
        jobs = [(source, arch) for source in sorted(folder.glob("*.cu")) for arch in ARCHITECTURES]
        assert jobs, f"{folder} has no sources"
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda job: compiled(library, *job), jobs))
    bad = 0
    for (source, architecture), (works, log) in zip(jobs, results):
        if works and "warning" not in log:
            registers, spilled = resources(log)
            print(f"{source.stem:30} {architecture:8} {registers:>4} registers, {spilled:>3} bytes spilled")
        else:
            bad += 1
            print(f"{source.stem:30} {architecture:8} FAILED\n{log}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
