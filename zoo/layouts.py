"""What the checkpoints of each method's public code hold, and what that is here. Names and shapes, no code of theirs.

Read off files that the public code has written (docs/published_checkpoints.md says which). A name of theirs is in one
of a layout's rows, or in what it knowingly leaves behind.
"""

import re
from typing import Callable, NamedTuple


class Row(NamedTuple):
    """A tensor of theirs, or one of each layer where its name has {}."""

    theirs: str
    ours: str
    shape: str  # sizes by name, as "n_ctx width"; a factor as "3*width"; what may be missing as "n_cls?"
    layers: str = ""  # with {}: name of the number of layers that have one
    first: int = 0  # with {}: number of the first layer in their name
    shift: int = 0  # with {}: ours is their number plus this


class Layout(NamedTuple):
    rows: tuple[Row, ...]
    ignored: tuple[tuple[str, str], ...]  # (regular expression of their names, why nothing is lost)
    settings: Callable[[dict[str, int]], dict[str, object]]  # sizes -> keys of the node that follow from them
    # What the words of CTX_INIT must be for a context of that length: "all" of it, or "more" (theirs stay behind it);
    # "": the key is not about words
    words: str = "all"


def _rows(prefix: str, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(row._replace(theirs=prefix + row.theirs) for row in rows)


CTX = Row("ctx", "ctx", "n_ctx width")
CLASSES = (r"token_(prefix|suffix|midfix)", "the embedded class names, which a run makes anew")


def _meta_net(n_in: str, n_out: str) -> tuple[Row, ...]:
    return (
        Row("meta_net.linear1.weight", "meta_net.linear1.weight", f"hidden {n_in}"),
        Row("meta_net.linear1.bias", "meta_net.linear1.bias", "hidden"),
        Row("meta_net.linear2.weight", "meta_net.linear2.weight", f"{n_out} hidden"),
        Row("meta_net.linear2.bias", "meta_net.linear2.bias", n_out),
    )


# ---- a whole CLIP, which the public code of MaPLe and PromptSRC saves with its prompts ---------------------------

_BLOCK = r"transformer\.resblocks\.\d+\.(attn\.(in_proj_|out_proj\.)|ln_[12]\.|mlp\.c_(fc|proj)\.)(weight|bias)"
_VISUAL = rf"(class_embedding|positional_embedding|proj|conv1\.weight|ln_(pre|post)\.(weight|bias)|{_BLOCK})"
_TEXT = rf"(positional_embedding|text_projection|ln_final\.(weight|bias)|{_BLOCK})"
FROZEN = (
    (rf"image_encoder\.{_VISUAL}", "the frozen CLIP"),
    (rf"text_encoder\.{_TEXT}", "the frozen CLIP"),
    (r"logit_scale", "the frozen CLIP"),
    (rf"prompt_learner\.{CLASSES[0]}", CLASSES[1]),
)

# ---- SEP's fusion modules ------------------------------------------------------------------------------------------

_PARTS = (  # of one: theirs, ours, shape
    ("promt_attention_visual.in_proj_weight", "attn.in_proj_weight", "3*{0} {0}"),
    ("promt_attention_visual.in_proj_bias", "attn.in_proj_bias", "3*{0}"),
    ("promt_attention_visual.out_proj.weight", "attn.out_proj.weight", "{0} {0}"),
    ("promt_attention_visual.out_proj.bias", "attn.out_proj.bias", "{0}"),
    ("ln_pa_1_visual.weight", "ln_1.weight", "{0}"),
    ("ln_pa_1_visual.bias", "ln_1.bias", "{0}"),
    ("ln_pa_2_visual.weight", "ln_2.weight", "{0}"),
    ("ln_pa_2_visual.bias", "ln_2.bias", "{0}"),
    ("mlp_pa_visual.c_fc1.weight", "mlp_in.weight", "hidden {0}"),
    ("mlp_pa_visual.c_proj.weight", "mlp_out.weight", "{0} hidden"),
    ("scale1", "scale_1", "1"),
    ("scale2", "scale_2", "1"),
)


def _fusions(theirs: str, ours: str, width: str) -> tuple[Row, ...]:
    return tuple(
        Row(f"{theirs}.{{}}.{t}", f"{ours}.{{}}.{o}", shape.format(width), "fusions") for t, o, shape in _PARTS
    )


# Their modules of one kind start as copies of a template, which is not trained; those that LAYERS does not use stay so
SEP_TEMPLATES = {"prompt_projections": "meta_net_", "visual_prompts": "visual_meta_net_"}
SEP_LAYERS = tuple(range(1, 12))  # what their modules are of by default (L_IND 0)
SEP_PARTS = tuple(theirs for theirs, _, _ in _PARTS)

# ---- the methods ---------------------------------------------------------------------------------------------------

LAYOUTS = {
    "CoOp": Layout(
        (CTX._replace(shape="n_cls? n_ctx width"),),
        (CLASSES,),
        lambda n: {"N_CTX": n["n_ctx"], "CSC": "n_cls" in n},
    ),
    "CoCoOp": Layout((CTX, *_meta_net("dim", "width")), (CLASSES,), lambda n: {"N_CTX": n["n_ctx"]}),
    "KgCoOp": Layout(
        (CTX,),
        (CLASSES, (r"bias_vectors|meta_net\.linear1\.(weight|bias)", "never used by their code")),
        lambda n: {"N_CTX": n["n_ctx"]},
    ),
    "ProGrad": Layout((CTX,), (CLASSES,), lambda n: {"N_CTX": n["n_ctx"]}, words=""),
    "MaPLe": Layout(
        _rows(
            "prompt_learner.",
            (
                CTX,
                Row("proj.weight", "couplings.0.weight", "vision width"),
                Row("proj.bias", "couplings.0.bias", "vision"),
                Row("compound_prompts_text.{}", "deep_ctx.{}", "n_ctx width", "deep"),
                Row("compound_prompt_projections.{}.weight", "couplings.{}.weight", "vision width", "deep", shift=1),
                Row("compound_prompt_projections.{}.bias", "couplings.{}.bias", "vision", "deep", shift=1),
            ),
        ),
        FROZEN,
        lambda n: {"N_CTX": n["n_ctx"], "PROMPT_DEPTH": 1 + n["deep"]},
        words="more",
    ),
    "PromptSRC": Layout(
        (
            CTX._replace(theirs="prompt_learner.ctx"),
            Row("image_encoder.VPT", "ctx_visual.0", "n_ctx_v vision"),
            Row(
                "image_encoder.transformer.resblocks.{}.VPT_shallow",
                "ctx_visual.{}",
                "n_ctx_v vision",
                "deep_vision",
                first=1,
            ),
            Row(
                "text_encoder.transformer.resblocks.{}.VPT_shallow",
                "deep_ctx.{}",
                "n_ctx width",
                "deep_text",
                first=1,
                shift=-1,
            ),
        ),
        (*FROZEN, (rf"prompt_learner\.ZS_image_encoder\.{_VISUAL}", "the frozen CLIP")),
        lambda n: {
            "N_CTX_TEXT": n["n_ctx"],
            "N_CTX_VISION": n["n_ctx_v"],
            "PROMPT_DEPTH_TEXT": 1 + n["deep_text"],
            "PROMPT_DEPTH_VISION": 1 + n["deep_vision"],
        },
        words="more",
    ),
    "TCP": Layout((CTX, *_meta_net("dim", "n_ctx*width")), (CLASSES,), lambda n: {"N_CTX": n["n_ctx"]}),
    "SEP": Layout(
        (
            CTX,
            Row("ctx_visual", "ctx_visual", "n_ctx_v vision"),
            *_fusions("prompt_projections", "text_enhancer", "width"),
            *_fusions("visual_prompts", "image_enhancer", "vision"),
        ),
        (
            CLASSES,
            (r"(visual_)?meta_net_\..+", "the template of the fusion modules"),
            (r"(prompt_projections|visual_prompts)\.\d+\.ln_pa_1_token\.(weight|bias)", "never used by their code"),
            (r"VPT_fc\.weight", "the class prototypes, which only training uses"),
        ),
        lambda n: {"VARIANT": "released", "N_CTX": n["n_ctx"], "N_CTX_V": n["n_ctx_v"]},
    ),
}


def ignored(layout: Layout, names: list[str]) -> list[str]:
    """Those of `names` that the layout knowingly leaves behind."""
    patterns = [re.compile(pattern) for pattern, _ in layout.ignored]
    return [name for name in names if any(pattern.fullmatch(name) for pattern in patterns)]
