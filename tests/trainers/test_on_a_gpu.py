"""Steps and evaluations on a GPU that is not there: see tests/fake_gpu/."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.subject import GEOMETRIES, Subject
from harness.catalogue import METHODS
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.long
PRECISIONS = ("fp32", "fp16", "bf16", "amp")
# A mistake in a method -> what it is found by
FOUND = {
    "zsclip:positions stay on the CPU": "cpu is not on the expected device",
    "coop:a number is asked for": "_local_scalar_dense",
    "coop:a term on the CPU": "at least two devices, cuda:0 and cpu",
    "coop:a comparison is asked for": "_local_scalar_dense",
    "coop:a count is asked for": "nonzero",
    "coop:as an array": "numpy",
    "coop:back on the host": "on cpu",
    "coop:float16": "a result is torch.float16",
    "coop:float64": "a result is torch.float64",
    "coop:an index of the labels on the CPU": "at least two devices",
}


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    """A compiled tests/fake_gpu/guard.cpp."""
    if torch.version.cuda or torch.version.hip:
        pytest.skip("this PyTorch is built for a GPU, and needs no guard that does nothing")
    if not shutil.which("g++"):
        pytest.skip("there is no g++ to compile what a PyTorch without CUDA lacks")
    path, torchs = tmp_path_factory.mktemp("guard") / "guard.so", Path(torch.__file__).parent
    source = REPOSITORY / "tests/fake_gpu/guard.cpp"
    command = ["g++", "-std=c++20", "-fPIC", "-shared", f"-I{torchs}/include", str(source), f"-L{torchs}/lib"]
    libraries = ["-lc10", "-ltorch_cpu", f"-Wl,-rpath,{torchs}/lib", "-o", str(path)]
    subprocess.run([*command, *libraries], check=True, capture_output=True, text=True)
    return str(path)


def steps(guard, *words):
    """Lines "METHOD PRECISION: ok", or an error."""
    command = [sys.executable, "-m", "tests.fake_gpu.steps", guard, *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(words)]


@pytest.mark.parametrize("first", range(4))  # minutes, for as many processes
def test_every_method_in_every_precision(guard, first):
    names = [method.folder for method in METHODS[first::4]]
    lines = steps(guard, *names)
    stepping = {method.folder for method in METHODS if Subject(method, GEOMETRIES["tiny"], "cuda").steps}
    assert lines == [f"{name} {prec}: ok" for name in names for prec in [*PRECISIONS, *["graphs"] * (name in stepping)]]


def test_a_graph_of_the_gpu_alone(guard):
    *plain, graphs = steps(guard, "coop:drawn on the host")
    assert all(line.endswith(": ok") for line in plain) and len(plain) == len(PRECISIONS)
    assert "a graph holds rand on cpu" in graphs


def test_mistakes_are_found(guard):
    lines = steps(guard, *FOUND)
    assert len(lines) == len(FOUND) * len(PRECISIONS)
    for line in lines:
        word = next(word for word in FOUND if line.startswith(word))
        assert FOUND[word] in line, line
