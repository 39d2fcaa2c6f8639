"""What every method's `CustomCLIP` shares: two frozen encoders, and logits from normalised features."""

from collections import OrderedDict
from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
from torch import nn
from torch.nn import functional as F
from yacs.config import CfgNode

from ..compat import autocast
from ..errors import UserError
from .encoders import ImageEncoder, TextEncoder
from .image_batch import Image, ImageBatch, pixels_of
from .prompt_text import PromptSequences

Losses = Dict[str, torch.Tensor]  # ordered: name -> scalar
TrainingPass = Tuple[torch.Tensor, torch.Tensor, torch.Tensor, Losses]  # see `PromptedCLIP.training_pass`


class PromptedCLIP(nn.Module):
    """A frozen CLIP around a `prompt_learner`.

    Whoever builds one checks the config first (`trainers/keys.py`), as `PromptTrainer` does: a method looks only at
    what depends on the backbone.

    A method gives itself a `prompt_learner` and overrides `encode_text`, `encode_image` or `losses` where it differs.
    What is trained but belongs to the training classes or batches alone (prototypes, critics) goes into
    `training_only`: it is optimised with the prompts, and in a checkpoint only for a training that goes on, unless
    `load_training_only` takes it.

    A method whose prompts depend on the image says so by `text_depends_on_image`. Its `encode_text` takes the images'
    features (B, dim) and returns (B, n_cls, dim), and its `logits` take that.

    What `image_encoder(image)` gives may come from a store (`ImageBatch`). A method that reads images otherwise
    overrides `encode_image` or sets `mixes_pixels`: for the others, they may not even be read.
    """

    text_depends_on_image: bool = False
    mixes_pixels: bool = False  # whether training encodes other images than those of the batch
    # Of a method that trains the layers behind these (own_weights.py): how many stay frozen in the image encoder
    frozen_layers: Optional[int] = None
    context_note: str = ""  # for people: what else becomes of `context_tokens`, a sentence
    # Whether its classes are those that the prompts were trained on, of the same data set and half of the classes
    seen_classes: bool = True

    prompt_learner: nn.Module  # the method's own
    classnames: List[str]
    hand_features: Optional[torch.Tensor]  # (n_cls, dim), see `add_hand_features`
    training_only: nn.ModuleDict
    monitors: Dict[str, torch.Tensor]  # detached scalars of one training batch: logged, not trained

    def __init__(self, cfg: CfgNode, classnames: Sequence[str], clip_model: nn.Module):
        super().__init__()
        size, resolution = tuple(cfg.INPUT.SIZE), clip_model.visual.input_resolution
        if size != (resolution, resolution):
            raise UserError(
                f"INPUT.SIZE is {size[0]} x {size[1]}, but backbone {cfg.MODEL.BACKBONE.NAME} takes "
                f"{resolution} x {resolution} images: set INPUT.SIZE to ({resolution}, {resolution})."
            )
        _check_pictures(cfg, clip_model)
        clip_model.requires_grad_(False)
        self.name = cfg.TRAINER.NAME
        self.classnames = list(classnames)
        self.image_encoder = ImageEncoder(clip_model.visual)
        self.text_encoder = TextEncoder(clip_model, cfg.MODEL.TEXT_CHUNK)
        self.logit_scale = clip_model.logit_scale
        self.register_buffer("hand_features", None, persistent=False)
        self.training_only = nn.ModuleDict()
        self.monitors = {}  # the trainer empties it before each batch

    def add_hand_features(self, clip_model: nn.Module, templates: Sequence[str], unit: bool = True) -> None:
        """Encode the classes' hand-crafted prompts, once, as buffer `hand_features` (n_cls, dim), see `encode_prompts`.

        It belongs to these classes: checkpoints leave it out.
        """
        self.hand_features = encode_prompts(clip_model, templates, self.classnames, unit)

    def require_vit(self, method: str, cfg: CfgNode) -> None:
        """Raise UserError if the image encoder is a ResNet: `method` works inside a transformer."""
        if not self.image_encoder.is_vit:
            raise UserError(
                f"{method} works inside the image encoder's transformer, and {cfg.MODEL.BACKBONE.NAME}, a ResNet, has "
                f"none: choose a ViT such as ViT-B/16 (MODEL.BACKBONE.NAME)."
            )

    def train(self, mode: bool = True) -> "PromptedCLIP":
        super().train(mode)
        self.image_encoder.eval()  # batch norms of a frozen ResNet keep their statistics
        return self

    @property
    def training_classnames(self) -> List[str]:
        """The classes that it is trained on, which a checkpoint names."""
        return self.classnames

    def before_training(self) -> None:
        """Called before a training, new or resumed: gets what only that needs. A test goes without."""

    def load_training_only(self, modules: Dict[str, torch.Tensor], classnames: List[str], path: str) -> None:
        """Take what evaluation needs of a training's `training_only`, for the classes of this model; here nothing.

        Called when prompts are loaded to be tested. modules: the tensors by name, not checked; classnames: of the
        training; path: of the checkpoint, for errors.
        """

    @property
    def image_side_is_plain(self) -> bool:
        """Whether images are encoded by the frozen CLIP as it is, so that any plain CLIP's features will do."""
        return type(self).encode_image is PromptedCLIP.encode_image

    @property
    def predicts_by_text(self) -> bool:
        """Whether evaluation compares images with text features and does nothing else."""
        return True

    @property
    def frozen_note(self) -> str:
        """For people: what does not learn."""
        layers = self.frozen_layers
        return "both encoders are" if layers is None else f"the first {layers} layers of both encoders are"

    def reads_pixels(self, training: bool) -> bool:
        """Whether images are needed where what `frozen_image` gives is known."""
        if self.frozen_layers is not None:
            return not training or self.mixes_pixels
        return not self.image_side_is_plain or (training and self.mixes_pixels)

    def frozen_image(self, image: torch.Tensor) -> torch.Tensor:
        """image (B, 3, H, W) -> what is frozen in its encoding, which a store keeps (`ImageBatch`).

        These are features (B, dim), not normalised, float32. With `frozen_layers` they are what comes out of these
        layers, (B, length, width), in their own type (bfloat16, which NumPy has not, as float32).
        """
        if self.frozen_layers is None:
            # .forward, as hooks on the encoder (DePT's) are for what the method itself asks of it
            return self.image_encoder.forward(image).float()
        x = self.image_encoder.first_layers(image, self.frozen_layers)
        return x.float() if x.dtype == torch.bfloat16 else x

    def frozen_outputs(self, image: Image) -> torch.Tensor:
        """The same of a method with `frozen_layers`: in training from the store, if it is there.

        Of test pictures it is never kept: 300 KB each (ViT-B/16, fp16), which are asked for once.
        """
        known = image.features if isinstance(image, ImageBatch) else None
        if known is not None and self.prompt_learner.training:  # Dassl sets the mode of what learns alone
            return image.features(image.pixels)
        return self.frozen_image(pixels_of(image))

    def encode_image(self, image: Image) -> torch.Tensor:
        """image (B, 3, H, W) -> normalised features (B, dim), float32."""
        return normalise(self.image_encoder(image))

    def encode_text(self) -> torch.Tensor:
        """Normalised text features (n_cls, dim), float32; they depend on the prompts alone."""
        return normalise(self.text_encoder(self.prompt_learner()))

    def text_views(self) -> Dict[str, torch.Tensor]:
        """Text features that a figure may show: name -> (n_cls, dim)."""
        if self.hand_features is None:
            return {"text": self.encode_text()}
        return {"hand-crafted": self.hand_features, self.name: self.encode_text()}

    def context_tokens(self) -> Dict[int, torch.Tensor]:
        """What is learned in the place of words: layer -> the tokens that enter the text encoder before it.

        (n, width) if all classes share them, else (n_cls, n, width). Prompt learners call those of the input `ctx`, and
        those of the layers behind it, where each has its own, `deep_ctx`.
        """
        learner = self.prompt_learner
        ctx = [learner.ctx] if hasattr(learner, "ctx") else []
        return dict(enumerate([*ctx, *getattr(learner, "deep_ctx", [])]))

    def chosen_tokens(self, image: Image) -> Dict[int, torch.Tensor]:
        """Which of an image's tokens are picked before a layer, by rank: layer -> positions (B, n).

        Position 0 is CLS, then come the patches, row by row. Most methods pick none.
        """
        return {}

    def logits(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """exp(logit_scale) cos(image, text): (B, dim), (n_cls, dim) -> (B, n_cls), float32."""
        with autocast(image_features.device.type, enabled=False):
            return self.logit_scale.exp() * image_features @ text_features.t()

    def losses(
        self, image_features: torch.Tensor, text_features: torch.Tensor, logits: torch.Tensor, label: torch.Tensor
    ) -> Losses:
        """Named, already weighted loss terms whose sum is trained, unless `backward` says otherwise."""
        return OrderedDict(ce=F.cross_entropy(logits, label))

    def backward(self, losses: Losses) -> None:
        """Set the gradients of what is trained, which are empty, from the terms; loss scaling has scaled all alike."""
        sum(losses.values()).backward()

    def training_pass(self, image: Image, label: torch.Tensor) -> TrainingPass:
        """What a step trains: (image features, text features, the logits of both, losses).

        A method whose losses need more than `losses` is told overrides this.
        """
        f = self.encode_image(image)
        g = self.encode_text(f) if self.text_depends_on_image else self.encode_text()
        logits = self.logits(f, g)
        return f, g, logits, self.losses(f, g, logits, label)

    def forward(
        self, image: Image, label: Optional[torch.Tensor] = None, text_features: Optional[torch.Tensor] = None
    ) -> Union[torch.Tensor, Tuple[torch.Tensor, Losses]]:
        """image (B, 3, H, W) -> logits (B, n_cls); with label (B,) -> (logits, losses), of `training_pass`.

        text_features (n_cls, dim): what `encode_text` returned, for an evaluation that calls it once.
        """
        if label is not None:
            return self.training_pass(image, label)[2:]
        f = self.encode_image(image)
        if text_features is None:
            text_features = self.encode_text(f) if self.text_depends_on_image else self.encode_text()
        return self.logits(f, text_features)


def _check_pictures(cfg, clip_model):
    """Raise UserError if pictures are made otherwise than the backbone says; those of OpenAI's format do not say."""
    pictures, name = getattr(clip_model, "pictures", None), cfg.MODEL.BACKBONE.NAME
    if pictures is None:
        return
    ours = [*cfg.INPUT.PIXEL_MEAN, *cfg.INPUT.PIXEL_STD] if "normalize" in cfg.INPUT.TRANSFORMS else [0] * 3 + [1] * 3
    theirs = [*pictures.mean, *pictures.std] if pictures.mean else ours
    rounding = min(1e-4, 1e-2 * max(theirs))  # pictures of whole numbers up to 255 have means and deviations of 0.002
    if any(abs(a - b) > rounding for a, b in zip(ours, theirs)):
        raise UserError(
            f"Backbone {name} was trained on pictures normalised otherwise: have normalize in INPUT.TRANSFORMS, "
            f"INPUT.PIXEL_MEAN {list(pictures.mean)} and INPUT.PIXEL_STD {list(pictures.std)}."
        )
    if pictures.interpolation not in (None, cfg.INPUT.INTERPOLATION):
        raise UserError(
            f"Backbone {name} was trained on pictures resized otherwise: set INPUT.INTERPOLATION to "
            f"{pictures.interpolation}."
        )


def normalise(x: torch.Tensor) -> torch.Tensor:
    """Unit length along the last dimension, in float32."""
    return F.normalize(x.float(), dim=-1)


@torch.no_grad()
def encode_prompts(
    clip_model: nn.Module, templates: Sequence[str], classnames: Sequence[str], unit: bool = True
) -> torch.Tensor:
    """Text features of hand-crafted prompts: normalised mean over templates of normalised features, (n_cls, dim).

    With one template this is zero-shot CLIP; with several, CLIP's prompt ensemble (arXiv 2103.00020, section 3.1.4).
    unit: whether features are normalised before the mean (PromptSRC's code does not).
    """
    encoder = TextEncoder(clip_model)
    features = 0
    for template in templates:
        each = encoder(PromptSequences(clip_model, classnames, ending=template)()).float()
        features = features + (normalise(each) if unit else each)
    return normalise(features)
