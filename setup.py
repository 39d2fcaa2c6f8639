"""Install what the project needs, and nothing that can be imported.

The repository is run from its checkout, as forks of CoOp are. Installing its folders would shadow an
installed `dassl` or Hugging Face's `datasets`.
"""

from setuptools import setup

setup(
    name="prompt-learning-sep-e2mim",
    version="0.1.0",
    description="SEP and E2MIM prompt tuning of CLIP, as Dassl trainers",
    license="MIT",
    python_requires=">=3.9",
    packages=[],
    py_modules=[],
    install_requires=[
        "torch>=2.0",
        "torchvision",
        "clip-anytorch",
        "setuptools<81",  # clip imports pkg_resources
        "ftfy",
        "regex",
        "yacs",
        "numpy",
        "pillow",
        "scikit-learn",
        "scipy",
        "matplotlib",
        "jinja2",  # the page of tools/report.py
        "tensorboard",
        "tabulate",
        "tqdm",
        "huggingface-hub",  # tools/prepare_data.py
        "filelock",
        "submitit",  # tools/sweep.py
        "safetensors",  # tools/export.py, and CLIPs of transformers
    ],
    extras_require={
        "open_clip": ["open_clip_torch"],  # MODEL.BACKBONE.NAME open_clip:...
        "onnx": ["onnx", "onnxruntime", "onnxscript"],  # tools/export.py --output FILE.onnx
    },
)
