"""The weights of MODEL.BACKBONE.NAME where code of CoOp's forks looks for them: `clip._download(clip._MODELS[name])`.

A name that OpenAI's package does not know (shapes-tiny, a file's path, open_clip:...) stands for itself there, and is
downloaded as a file that holds its weights in OpenAI's names. It is written when it is asked for.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from trainers.backbone import openai_files
from trainers.backbone.clip_loader import load_clip
from trainers.errors import UserError
from trainers.random_state import random_state, set_random_state


class _Models(dict):
    def __missing__(self, name):
        return name


class ClipFiles:
    """The files that were written. `activation` is MODEL.BACKBONE.ACTIVATION."""

    activation = ""

    def __init__(self):
        self._folder, self._paths = None, {}

    def path_of(self, name: str) -> str:
        """A file with the weights that a name stands for. Raises UserError for what OpenAI's code does not build."""
        if name not in self._paths:
            state = random_state()  # building draws weights, which must not shift what the trainer draws
            with contextlib.redirect_stdout(io.StringIO()):
                model = load_clip(name, self.activation)
            set_random_state(state)
            _check(name, model)
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="clip_weights_")
            path = os.path.join(self._folder.name, f"{len(self._paths)}.pt")
            torch.save(model.state_dict(), path)
            self._paths[name] = path
        return self._paths[name]

    def remove(self) -> None:
        if self._folder:
            self._folder.cleanup()
        self._folder, self._paths = None, {}


FILES = ClipFiles()


def replacements(module: Any) -> Iterator[tuple[Any, str, Any]]:
    """As bridges.replacements, for a module like OpenAI's clip.clip."""
    urls, original, load = getattr(module, "_MODELS", None), getattr(module, "_download", None), module.load
    if urls is None or original is None:
        return
    names = {url: name for name, url in urls.items()}

    def download(url, *args, **kwargs):
        if url not in names:
            return FILES.path_of(url)
        module._download = original  # which openai_files asks
        try:
            return openai_files.get(names[url], url)
        finally:
            module._download = download

    def load_any(name, *args, **kwargs):
        return load(name if name in urls or os.path.isfile(name) else FILES.path_of(name), *args, **kwargs)

    yield module, "_MODELS", _Models(urls)
    yield module, "_download", download
    yield module, "load", load_any


def _check(name, model):
    blocks = [*model.transformer.resblocks, *getattr(getattr(model.visual, "transformer", None), "resblocks", [])]
    for block in blocks:
        if isinstance(block.mlp.gelu, nn.GELU) or block.attn.num_heads != max(1, block.attn.embed_dim // 64):
            raise UserError(
                f'"{name}" (MODEL.BACKBONE.NAME) has another activation or other heads than OpenAI\'s CLIPs, which the '
                "code of this trainer builds: take one that has theirs."
            )
