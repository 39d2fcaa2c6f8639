"""Hand-crafted prompt templates of the public data sets.

`TEMPLATES` are those of CoOp's code (arXiv 2109.01134). `KGCOOP_TEMPLATES` (arXiv 2303.13283) words one of them
differently, `TCP_TEMPLATES` (arXiv 2311.18231) three, `SEP_TEMPLATES` (arXiv 2405.15549) four, `PROGRAD_TEMPLATES`
(arXiv 2205.14865) five. `SKIP_TEMPLATES` (arXiv 2412.11509) are mostly others.
"""

from ..errors import UserError

PHOTO = "a photo of a {}."

TEMPLATES = {
    "ImageNet": PHOTO,
    "ImageNetV2": PHOTO,
    "ImageNetSketch": PHOTO,
    "ImageNetA": PHOTO,
    "ImageNetR": PHOTO,
    "Caltech101": PHOTO,
    "OxfordPets": "a photo of a {}, a type of pet.",
    "StanfordCars": PHOTO,
    "OxfordFlowers": "a photo of a {}, a type of flower.",
    "Food101": "a photo of {}, a type of food.",
    "FGVCAircraft": "a photo of a {}, a type of aircraft.",
    "SUN397": PHOTO,
    "DescribableTextures": "{} texture.",
    "EuroSAT": "a centered satellite photo of {}.",
    "UCF101": "a photo of a person doing {}.",
}

KGCOOP_TEMPLATES = {**TEMPLATES, "DescribableTextures": "a photo of a {}, a type of texture."}

PROGRAD_TEMPLATES = {
    **TEMPLATES,
    "OxfordPets": "a type of pet, a photo of a {}.",
    "OxfordFlowers": "a type of flower, a photo of a {}.",
    "Food101": "a type of food, a photo of {}.",
    "FGVCAircraft": "a type of aircraft, a photo of a {}.",
    "DescribableTextures": "a texture of {}.",
}

TCP_TEMPLATES = {
    **KGCOOP_TEMPLATES,
    "FGVCAircraft": "a photo of an aircraft {}.",
    "Food101": "a photo of a {}, a type of food.",
}

SEP_TEMPLATES = {**TCP_TEMPLATES, "StanfordCars": "a photo of a {}, a type of car."}

SKIP_TEMPLATES = {
    **TEMPLATES,
    "ImageNetSketch": "a sketch of a {}.",
    "ImageNetA": "a bad photo of a {}.",
    "ImageNetR": "a rendition of a {}.",
    "Caltech101": "itap of a {}.",
    "OxfordPets": "a bad photo of a {}, a type of pet.",
    "StanfordCars": "a photo of the {}, a type of car.",
    "OxfordFlowers": "a close-up photo of a {}.",
    "Food101": "a photo of the nice {}.",
    "FGVCAircraft": "a bright photo of a {}, a type of aircraft.",
    "DescribableTextures": "itap of a {}.",
    "UCF101": "a photo of a {}, a type of sport.",
}


def template_for(cfg, table=TEMPLATES):
    """The hand-crafted template of the data set: DATASET.TEMPLATE if set, else the table's, else a plain photo.

    Raises UserError if the template has no {} for the class name.
    """
    template = cfg.DATASET.get("TEMPLATE", "") or table.get(cfg.DATASET.NAME, PHOTO)
    if template.count("{}") != 1:
        raise UserError(f'DATASET.TEMPLATE "{template}" must hold {{}} once, where the class name goes.')
    return template


def _imagenet_templates():
    """The 80 templates of CLIP's ImageNet ensemble (arXiv 2103.00020, section 3.1.4; published by OpenAI)."""
    photos = "bad good cropped bright dark close-up blurry pixelated".split()
    photos += ["low resolution", "black and white", "jpeg corrupted"]
    looks = "clean dirty cool large small nice weird".split() + ["hard to see"]
    media = "sculpture rendering tattoo drawing painting doodle sketch rendition".split()
    media = [f"a {m}" for m in media] + ["graffiti", "art", "itap"]
    stuffs = "embroidered plastic origami toy cartoon plushie".split()
    templates = ["a photo of many {}.", "a photo of my {}.", "a photo of one {}.", "itap of my {}."]
    for article in ("a", "the"):
        templates += [f"a {p} photo of {article} {{}}." for p in photos]
        templates += [f"a photo of {article} {look} {{}}." for look in looks]
        templates += [f"{m} of {article} {{}}." for m in ["a photo", *media]]
        templates += [f"{article} {stuff} {{}}." for stuff in stuffs] + [f"{article} {{}} in a video game."]
    return templates


IMAGENET_TEMPLATES = _imagenet_templates()

# The seven of them that Tip-Adapter's code (arXiv 2111.03930) has for ImageNet, and for no other data set
TIP_IMAGENET_TEMPLATES = [
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
]


def tip_templates(cfg):
    """Tip-Adapter's templates: CoOp's of the data set, for ImageNet seven; DATASET.TEMPLATE takes their place."""
    if cfg.DATASET.NAME == "ImageNet" and not cfg.DATASET.get("TEMPLATE", ""):
        return TIP_IMAGENET_TEMPLATES
    return [template_for(cfg)]


# PromptSRC's ensemble (arXiv 2307.06948) is without these 20: its 60 are counted in the paper, named in the code
_NOT_IN_PROMPTSRC = {
    "a black and white photo of a {}.",
    "a dark photo of a {}.",
    "a drawing of the {}.",
    "a good photo of a {}.",
    "a jpeg corrupted photo of the {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a photo of the large {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "a plushie {}.",
    "a tattoo of the {}.",
    "a toy {}.",
    "art of the {}.",
    "graffiti of the {}.",
    "itap of a {}.",
    "itap of my {}.",
    "the cartoon {}.",
    "the plushie {}.",
}
PROMPTSRC_TEMPLATES = [t for t in IMAGENET_TEMPLATES if t not in _NOT_IN_PROMPTSRC]


def promptsrc_templates(cfg):
    """PromptSRC's 60 templates, the same for all data sets; DATASET.TEMPLATE takes the place of the plain photo."""
    return [template_for(cfg, {}) if t == PHOTO else t for t in PROMPTSRC_TEMPLATES]
