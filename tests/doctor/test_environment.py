"""What the doctor says of packages and devices, and of those that are not there."""

import importlib.metadata
import subprocess
import sys

import pytest
import torch

from doctor import environment
from doctor.findings import FAULT, NOTE, OK
from tests.conftest import REPOSITORY


def found(check):
    return next(finding for finding in environment.environment() if finding.check == check)


def test_here_nothing_is_wrong():
    findings = list(environment.environment())
    assert [f.check for f in findings][:4] == ["python", "packages", "clip", "torch"]
    assert not [f for f in findings if f.level == FAULT], findings
    assert torch.__version__ in found("torch").text and sys.executable in found("python").text


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(environment, "OLDEST", (99, 1))
    finding = found("python")
    assert finding.level == FAULT and "install 99.1 or newer" in finding.remedy


@pytest.mark.parametrize("lacks, level, said", [(True, FAULT, "not installed: yacs"), (False, NOTE, "yacs 0 (0.1.8)")])
def test_packages_that_are_missing_or_others(monkeypatch, lacks, level, said):
    version = importlib.metadata.version

    def other(name):
        if name == "yacs" and lacks:
            raise importlib.metadata.PackageNotFoundError(name)
        return "0" if name == "yacs" else version(name)

    monkeypatch.setattr(environment.importlib.metadata, "version", other)
    finding = found("packages")
    assert finding.level == level and said in finding.text and "pip install" in finding.remedy
    assert environment.needed()["torch"] and "pytest" not in environment.needed()


def test_another_clip_and_no_torch(tmp_path):
    """From the command: what needs them is left out, and said to be."""
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "__init__.py").write_text("")
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so: no such file')")
    command = [sys.executable, REPOSITORY / "tools" / "doctor.py", "--data", str(tmp_path)]
    environ = {"PYTHONPATH": str(tmp_path), "OUTPUT": str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == ""
    assert f"fault  clip: the package in {tmp_path}/clip is not OpenAI's CLIP; pip uninstall clip" in done.stdout
    assert "fault  torch: it cannot be imported (libcudart.so: no such file)" in done.stdout
    assert done.stdout.endswith("note   weights, data: not looked at, as that needs all packages\n2 faults, 1 note\n")


class Gpu:
    """torch.cuda where there is one GPU."""

    def __init__(self, free=79, works=True):
        self.free, self.works = free, works

    def is_available(self):
        return True

    def device_count(self):
        return 1

    def get_device_name(self, i):
        return "Card"

    def is_bf16_supported(self):
        return True

    def mem_get_info(self, i):
        if not self.works:
            raise RuntimeError("CUDA error: no kernel image is available\nmore")
        return self.free * 2**30, 80 * 2**30


class Torch:
    """PyTorch where there is one GPU."""

    def __init__(self, **of_the_gpu):
        self.cuda, self.version = Gpu(**of_the_gpu), torch.version

    def arange(self, n, device):
        return torch.arange(n)


@pytest.mark.parametrize(
    "of_the_gpu, level, said",
    [
        ({}, OK, "Card, 80 GiB, bf16, driver 570"),
        ({"free": 10}, NOTE, "others use 70 GiB of it"),
        ({"works": False}, FAULT, "Card does not work (CUDA error: no kernel image is available)"),
    ],
)
def test_a_gpu(monkeypatch, of_the_gpu, level, said):
    monkeypatch.setattr(environment, "_of_the_driver", lambda: ["570"])
    (finding,) = environment._gpus(Torch(**of_the_gpu))
    assert finding.level == level and said in finding.text


@pytest.mark.parametrize("cuda, said", [(None, "this PyTorch has no CUDA"), ("12.8", "PyTorch cannot use 570, Card")])
def test_a_gpu_that_pytorch_does_not_see(monkeypatch, cuda, said):
    monkeypatch.setattr(environment, "_of_the_driver", lambda: ["570, Card"])
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    finding = found("gpu")
    assert finding.level == FAULT and said in finding.text
