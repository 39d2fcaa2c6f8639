"""Use what was trained: the folder of a run becomes a model that classifies pictures.

    from inference.api import load_run

    model = load_run("output/base2new/train_base/shapes/shots_16/SEP/shapes/seed1")
    model.predict(["one.jpg", "two.jpg"], top=3)

All that a run needs lies in its folder: settings (config.yaml), class names (metrics.json), prompts (prompt_learner/).
"""

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from numbers import Integral
from typing import Any, NamedTuple, Optional, Union

import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image
from torch import nn

import own_methods
import trainers
from dassl.data.classes import same_names, warn_of_same_names
from dassl.data.transforms import build_transform
from dassl.utils import SCALED, import_all, read_image, to_rgb
from trainers import base  # noqa: F401  first, as it imports clip without a warning
from trainers.errors import MissingFile, UserError
from trainers.features.stored_pictures import stored_lists
from trainers.precision import Precision
from trainers.prompting.model import PromptedCLIP

Picture = Union[str, os.PathLike, Image.Image, torch.Tensor]  # a tensor (3, H, W) is what `transform` gave
HOW = "pass paths, PIL images, or what `transform` makes of one"
SLACK = 0.02  # by which a pixel may leave the range of `transform`, in standard deviations: rounding of half precision
QUICK = 1e-3  # seconds: of pictures that are read faster, a thread would spend most on waiting for Python's lock


class Prediction(NamedTuple):
    """A class and its probability, 0 to 1."""

    classname: str
    probability: float


class TrainedModel:
    """A trained run, ready to look at pictures. It never changes, so that several threads may use it at once.

    Attributes:
        classnames: the classes that it chooses from.
        transform: a PIL image -> (3, H, W) float32, as the run's test images.
        logit_scale: what cosines are multiplied by, exp(CLIP's logit_scale).
        image_side_is_plain: whether images are encoded by CLIP as it is: nothing is learned there.
        predicts_by_text: whether images are compared with text features alone: no head of the training classes helps.
        activation: of the CLIP's layers, "quickgelu" or "gelu".
    """

    def __init__(self, folder, cfg, model: PromptedCLIP, precision: Precision, device: torch.device):
        self.folder, self.cfg, self.device = folder, cfg, device
        self.classnames = list(model.classnames)
        with contextlib.redirect_stdout(io.StringIO()):  # it says what it is made of
            self.transform = build_transform(cfg, is_train=False)
        steps = self.transform.transforms
        to_tensor = next(i for i, step in enumerate(steps) if isinstance(step, T.ToTensor))
        self._of_pictures, self._of_images = steps[:to_tensor], steps[to_tensor + 1 :]
        self._stored = stored_lists(cfg, folder, self.transform, device)
        self._model, self._precision = model.eval().requires_grad_(False), precision
        self.logit_scale = model.logit_scale.exp().item()
        self.image_side_is_plain = model.image_side_is_plain
        self.predicts_by_text = model.predicts_by_text
        gelu = model.text_encoder.transformer.resblocks[0].mlp.gelu
        self.activation = "gelu" if isinstance(gelu, nn.GELU) else "quickgelu"
        self._unsaid, self._text = threading.Lock(), None
        if not model.text_depends_on_image:
            with torch.no_grad(), precision.autocast():
                self._text = model.encode_text()  # once: (n_cls, dim)

    def predict(self, images: Union[Picture, Sequence[Picture]], top: int = 5) -> list[list[Prediction]]:
        """The `top` most probable classes of each image, the first first; one image or several, at once.

        Probabilities are the softmax of exp(logit_scale) times the cosines, CLIP's temperature.
        Several are any iterable, or a tensor (n, 3, H, W). Raises UserError for what is no picture, such as a tensor
        that `transform` cannot have made, and MissingFile for a file that is not there.
        """
        return self._named(self.logits(images), top)

    @torch.no_grad()
    def logits(self, images: Union[Picture, Sequence[Picture]]) -> torch.Tensor:
        """(n, n_cls), float32, on the CPU."""
        with self._precision.autocast():
            return self._model(self._batch(images), text_features=self._text).float().cpu()

    @torch.no_grad()
    def encode_image(self, images: Union[Picture, Sequence[Picture]]) -> torch.Tensor:
        """Image features (n, dim), float32, on the CPU; of unit length, but for MMRL's and MMRL++'s means of two."""
        with self._precision.autocast():
            return self._model.encode_image(self._batch(images)).float().cpu()

    def encode_text(self, classnames: Optional[Sequence[str]] = None) -> torch.Tensor:
        """Text features of unit length, (n_cls, dim), float32, on the CPU; of other classes, if they are given.

        Raises UserError for a method whose text depends on the image, and for prompts that belong to their classes.
        """
        if classnames is not None:
            return load_run(self.folder, classnames, self.device).encode_text()
        if self._text is None:
            raise UserError(f"{self.cfg.TRAINER.NAME} has no text features of its own: they differ with each image.")
        return self._text.float().cpu()

    @torch.no_grad()
    def text_views(self) -> dict[str, torch.Tensor]:
        """Text features that a figure may show, such as hand-crafted and learned ones: name -> as `encode_text`."""
        with self._precision.autocast():
            return {name: view.float().cpu() for name, view in self._model.text_views().items()}

    def program(self) -> nn.Module:
        """All of it as one module for its classes: images (n, 3, H, W), as of `transform` -> logits (n, n_cls)."""
        return _OneByOne(self._model) if self._text is None else _Program(self._model, self._text)

    def stream(
        self, paths: Iterable[str], top: int = 5, batch_size: int = 32, embed: bool = False
    ) -> Iterator[tuple[str, Any]]:
        """(path, predictions) of any number of files in their order, a batch at a time.

        embed: features (dim,) instead. What cannot be read, or is no picture, gives its UserError in that place.
        """
        for batch in self.read(paths, batch_size):
            images = [image for _, image in batch if isinstance(image, torch.Tensor)]
            results = iter([])
            if images:
                results = iter(self.encode_image(images) if embed else self._named(self.logits(images), top))
            for path, image in batch:
                yield path, next(results) if isinstance(image, torch.Tensor) else image

    def read(self, paths: Iterable[str], batch_size: int = 32) -> Iterator[list[tuple[str, Any]]]:
        """(path, image (3, H, W) or its UserError) of any number of files in their order, as lists of `batch_size`.

        While a GPU works on one list, the next is read. On a CPU reading and model would take each other's cores.
        """
        if isinstance(paths, (str, bytes, os.PathLike)) or not isinstance(paths, Iterable):
            raise UserError(f"paths are a list or another iterable, and not {paths!r:.60}: pass [path] for one.")
        _at_least_1("batch_size", batch_size)
        paths = iter(paths)
        lists = iter(lambda: list(islice(paths, batch_size)), [])
        with ThreadPoolExecutor(torch.get_num_threads()) as readers, ThreadPoolExecutor(1) as ahead:
            read = partial(self._read_all, readers)
            if self.device.type == "cpu":
                yield from map(read, lists)
                return
            coming = None
            for batch in lists:
                ready, coming = coming, ahead.submit(read, batch)
                if ready:
                    yield ready.result()
            if coming:
                yield coming.result()

    def _named(self, logits, top):
        _at_least_1("top", top)
        values, classes = logits.softmax(dim=-1).topk(min(top, len(self.classnames)), dim=-1)
        return [
            [Prediction(self.classnames[c], p) for p, c in zip(*row)] for row in zip(values.tolist(), classes.tolist())
        ]

    def _read_all(self, readers, paths):
        decode = partial(self._decode_all, readers, paths)
        pictures = self._stored.pixels(paths, decode) if self._stored else decode()
        return list(zip(paths, self._images(pictures)))

    def _decode_all(self, readers, paths):
        started = time.perf_counter()
        pictures = [self._read(paths[0])]
        each = map if time.perf_counter() - started < QUICK else readers.map
        return [*pictures, *each(self._read, paths[1:])]

    def _read(self, picture):
        try:
            return self._image(picture)
        except UserError as error:
            return error

    def _batch(self, images):
        one = (str, bytes, os.PathLike, Image.Image, np.ndarray, io.IOBase)
        if isinstance(images, one) or not isinstance(images, Iterable):
            images = [images]
        elif torch.is_tensor(images) and images.dim() != 4:
            images = [images]
        pictures = self._images([self._image(image) for image in images])
        if not pictures:
            raise UserError(f"There is no picture in what was passed: {HOW}.")
        return torch.stack(pictures).to(self.device)

    def _image(self, picture):
        """A picture as pixels, uint8 (H, W, 3), or, if it is one already, an image (3, H, W), float32, on the CPU."""
        if torch.is_tensor(picture):
            return self._as_transformed(picture)
        if not isinstance(picture, (str, os.PathLike, Image.Image)):
            what = type(picture).__name__
            if isinstance(picture, np.ndarray):
                what = f"{picture.dtype} array of NumPy, {tuple(picture.shape)} (Image.fromarray makes PIL's of one)"
            raise UserError(f"A picture cannot be a {what}: {HOW}.")
        return self._pixels(picture)

    def _as_transformed(self, image):
        """float32, on the CPU. Raises UserError for a tensor that `transform` cannot have made of any picture."""
        size = next(tuple(step.size) for step in self._of_pictures if isinstance(step, T.CenterCrop))
        said = f"A tensor ({', '.join(map(str, image.shape))}) of {str(image.dtype)[6:]} "
        dense = image.layout == torch.strided and image.device.type != "meta"
        if not (dense and image.dtype.is_floating_point and tuple(image.shape) == (3, *size)):
            raise UserError(f"{said}is not what `transform` makes, (3, {size[0]}, {size[1]}) of float32: {HOW}.")
        rounding = max(0.01, 80 * torch.finfo(image.dtype).eps)  # of pixels from 0 to 255
        image = image.detach().to("cpu", torch.float32)
        if not image.isfinite().all():
            raise UserError(f"{said}has pixels that are infinite or NaN: {HOW}.")
        norm = next((step for step in self._of_images if isinstance(step, T.Normalize)), None)
        if all(step is norm for step in self._of_images):  # instance_norm has no range
            mean, std = (torch.tensor(x).view(-1, 1, 1) for x in ((norm.mean, norm.std) if norm else ([0.0], [1.0])))
            low, high = -mean / std, (1 - mean) / std
            grey = (image * std + mean) * 255  # whole numbers, if `transform` made it
            plain = norm and image.min() >= 0 and image.max() <= 1 and (grey - grey.round()).abs().max() > rounding
            if (image < low - SLACK).any() or (image > high + SLACK).any() or plain:
                lowest, highest = image.min().item(), image.max().item()
                raise UserError(
                    f"{said}from {lowest:.3g} to {highest:.3g} is not normalised as the run's pictures are, "
                    f"{low.min().item():.3g} to {high.max().item():.3g}: {HOW}."
                )
        return image

    def _pixels(self, picture):
        """The part of a picture that the model sees: uint8 (H, W, 3)."""
        try:
            if isinstance(picture, Image.Image):
                name, picture = getattr(picture, "filename", "") or "in memory", to_rgb(picture)
            else:
                name = os.fspath(picture)
                picture = read_image(name)
        except FileNotFoundError as error:
            raise MissingFile(str(error)) from None
        except (OSError, ValueError) as error:
            raise UserError(str(error)) from None
        depth = picture.info.get("scaled_from")
        if depth and self._unsaid.acquire(blocking=False):  # never released: said once, whatever threads there are
            print(SCALED.format(name, depth), file=sys.stderr)
        for step in self._of_pictures:
            picture = step(picture)
        return np.array(picture)

    def _images(self, pictures):
        """All that are pixels as images (3, H, W), in one go: what `transform` makes of each. The rest as it is."""
        pixels = [picture for picture in pictures if isinstance(picture, np.ndarray)]
        if pixels:
            images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous().float().div_(255)
            for step in self._of_images:
                images = step(images)
            images = iter(images)
        return [next(images) if isinstance(picture, np.ndarray) else picture for picture in pictures]


def _at_least_1(name, value):
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise UserError(f"{name} is {value!r:.60}: ask for 1 or more.")


class _Program(nn.Module):
    def __init__(self, model, text_features):
        super().__init__()
        self.model = model
        self.register_buffer("text_features", text_features)

    def forward(self, image):
        return self.model(image, text_features=self.text_features)


class _OneByOne(nn.Module):
    """Of a model whose text depends on the image: a loop over images, as many as there are, which can be traced."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        from torch._higher_order_ops.scan import scan  # here: forks have PyTorch 1.9

        def logits_of(nothing, f):
            f = f.unsqueeze(0)
            return nothing.clone(), self.model.logits(f, self.model.encode_text(f)).squeeze(0)

        return scan(logits_of, image.new_zeros(1), self.model.encode_image(image))[1]


def load_run(
    folder: Union[str, os.PathLike],
    classnames: Optional[Sequence[str]] = None,
    device: Union[str, torch.device, None] = None,
    prec: Optional[str] = None,
) -> TrainedModel:
    """The model of a run of train.py, of its last epoch (or its best, if it keeps that one).

    Args:
        folder: the run's; that of a test leads to the model that was tested, with the classes of the test.
        classnames: what to choose from; by default the run's classes.
        device: by default a GPU if there is one.
        prec: as TRAINER.<method>.PREC; by default the run's.

    Raises UserError (MissingFile) for a folder that is no run's, for classes that the prompts do not fit, and for names
    that CLIP cannot tell apart, but for the run's own (as of ImageNet), which are warned of.
    """
    import_all(trainers)
    run = own_methods.run_folder(os.fspath(folder))
    own = list(run.record.get("classnames", []))
    names = own if classnames is None else _names(classnames)
    if not names:
        raise UserError(f'"{run.folder}" does not say which classes it has (metrics.json): give their names.')
    if names == own:  # as its data set has them, which was said when it was read
        warn_of_same_names(own, f'"{run.folder}"', sys.stderr)
    elif same_names(names):
        raise UserError(f"CLIP reads {same_names(names)} alike, so that they have one prompt: name each class once.")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() and run.cfg.USE_CUDA else "cpu"))
    model, precision = run.model(names, device, prec)
    return TrainedModel(run.folder, run.cfg, model, precision, device)


def _names(classnames):
    names = [classnames] if isinstance(classnames, str) else list(classnames)
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    if wrong or not names or isinstance(classnames, str):
        found = f"{wrong[0]!r:.60}" if wrong else "a text alone" if names else "none"
        raise UserError(f"classnames are a list of texts, one or more, and not {found}: give the name of each class.")
    return names
