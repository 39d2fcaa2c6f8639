"""Checkpoints as the methods' public code writes them: their names and shapes, and live objects beside the weights."""

import contextlib
import warnings
from collections import OrderedDict

import torch

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.002, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, 0.002),
    "adamw": lambda p: torch.optim.AdamW(p, 0.002),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.002),
}
SCHEDULERS = {
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 5.0),
    "single_step": lambda o: torch.optim.lr_scheduler.StepLR(o, 2),
    "multi_step": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 3]),
}


def live_training(weights, optimizer="sgd", scheduler="cosine"):
    """What the original Dassl saves but the epoch; its warm-up scheduler keeps the successor as an object."""
    parameters = [torch.nn.Parameter(value.clone()) for value in weights.values() if value.is_floating_point()]
    optim = OPTIMIZERS[optimizer](parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optim.step()
    successor = SCHEDULERS[scheduler](optim)
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        successor.step()
    state = OrderedDict(weights)
    state._metadata = OrderedDict({"": {"version": 1}})
    return {
        "state_dict": state,
        "optimizer": optim.state_dict(),
        "scheduler": {"successor": successor, "warmup_epoch": 1, "cons_lr": 1e-5, "last_epoch": 1, "_last_lr": [1e-5]},
        "val_result": None,
    }


def save(path, weights, epoch, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**live_training(weights), "epoch": epoch, **more}, path)
    return str(path)


# ---- the methods' state dicts, of random numbers ------------------------------------------------------------------

WIDTH, VISION, DIM, N_CLS = 64, 64, 32, 6  # of the tiny CLIP (tests/tiny.py) and its data set
TEXT_LAYERS, VISION_LAYERS = 2, 3


def _draw(shapes):
    generator = torch.Generator().manual_seed(len(shapes))
    return {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def _classes(n_ctx, prefix=""):
    return {f"{prefix}token_prefix": (N_CLS, 1, WIDTH), f"{prefix}token_suffix": (N_CLS, 76 - n_ctx, WIDTH)}


def _meta_net(hidden, n_out, width=DIM):
    return {
        "meta_net.linear1.weight": (hidden, width),
        "meta_net.linear1.bias": (hidden,),
        "meta_net.linear2.weight": (n_out, hidden),
        "meta_net.linear2.bias": (n_out,),
    }


def _block(prefix, width):
    return {
        f"{prefix}.attn.in_proj_weight": (3 * width, width),
        f"{prefix}.attn.in_proj_bias": (3 * width,),
        f"{prefix}.attn.out_proj.weight": (width, width),
        f"{prefix}.attn.out_proj.bias": (width,),
        f"{prefix}.ln_1.weight": (width,),
        f"{prefix}.ln_1.bias": (width,),
        f"{prefix}.mlp.c_fc.weight": (4 * width, width),
        f"{prefix}.mlp.c_fc.bias": (4 * width,),
        f"{prefix}.mlp.c_proj.weight": (width, 4 * width),
        f"{prefix}.mlp.c_proj.bias": (width,),
        f"{prefix}.ln_2.weight": (width,),
        f"{prefix}.ln_2.bias": (width,),
    }


def _image_encoder(prefix):
    shapes = {
        f"{prefix}.class_embedding": (VISION,),
        f"{prefix}.positional_embedding": (17, VISION),
        f"{prefix}.proj": (VISION, DIM),
        f"{prefix}.conv1.weight": (VISION, 3, 8, 8),
    }
    for norm in ("ln_pre", "ln_post"):
        shapes.update({f"{prefix}.{norm}.weight": (VISION,), f"{prefix}.{norm}.bias": (VISION,)})
    for i in range(VISION_LAYERS):
        shapes.update(_block(f"{prefix}.transformer.resblocks.{i}", VISION))
    return shapes


def _clip():
    shapes = {
        "logit_scale": (),
        "text_encoder.positional_embedding": (77, WIDTH),
        "text_encoder.text_projection": (WIDTH, DIM),
        "text_encoder.ln_final.weight": (WIDTH,),
        "text_encoder.ln_final.bias": (WIDTH,),
    }
    for i in range(TEXT_LAYERS):
        shapes.update(_block(f"text_encoder.transformer.resblocks.{i}", WIDTH))
    return {**shapes, **_image_encoder("image_encoder")}


def _fusion(prefix, width):
    return {
        f"{prefix}.scale1": (1,),
        f"{prefix}.scale2": (1,),
        f"{prefix}.promt_attention_visual.in_proj_weight": (3 * width, width),
        f"{prefix}.promt_attention_visual.in_proj_bias": (3 * width,),
        f"{prefix}.promt_attention_visual.out_proj.weight": (width, width),
        f"{prefix}.promt_attention_visual.out_proj.bias": (width,),
        f"{prefix}.ln_pa_1_visual.weight": (width,),
        f"{prefix}.ln_pa_1_visual.bias": (width,),
        f"{prefix}.ln_pa_1_token.weight": (width,),
        f"{prefix}.ln_pa_1_token.bias": (width,),
        f"{prefix}.mlp_pa_visual.c_fc1.weight": (256, width),
        f"{prefix}.mlp_pa_visual.c_proj.weight": (width, 256),
        f"{prefix}.ln_pa_2_visual.weight": (width,),
        f"{prefix}.ln_pa_2_visual.bias": (width,),
    }


def coop(n_ctx=4, csc=False):
    ctx = (N_CLS, n_ctx, WIDTH) if csc else (n_ctx, WIDTH)
    return _draw({"ctx": ctx, **_classes(n_ctx)})


def cocoop(n_ctx=4):
    return _draw({"ctx": (n_ctx, WIDTH), **_classes(n_ctx), **_meta_net(DIM // 16, WIDTH)})


def kgcoop(n_ctx=4):
    unused = {"bias_vectors": (1, 512), "meta_net.linear1.weight": (512, 512), "meta_net.linear1.bias": (512,)}
    return _draw({"ctx": (n_ctx, WIDTH), **unused, **_classes(n_ctx)})


def tcp(n_ctx=4):
    return _draw({"ctx": (n_ctx, WIDTH), **_classes(n_ctx), **_meta_net(DIM // 4, n_ctx * WIDTH)})


def maple(n_ctx=2, depth=2):
    shapes = {
        **_clip(),
        "prompt_learner.ctx": (n_ctx, WIDTH),
        "prompt_learner.proj.weight": (VISION, WIDTH),
        "prompt_learner.proj.bias": (VISION,),
        **_classes(n_ctx, "prompt_learner."),
    }
    for i in range(depth - 1):
        shapes[f"prompt_learner.compound_prompts_text.{i}"] = (n_ctx, WIDTH)
        shapes[f"prompt_learner.compound_prompt_projections.{i}.weight"] = (VISION, WIDTH)
        shapes[f"prompt_learner.compound_prompt_projections.{i}.bias"] = (VISION,)
    return _draw(shapes)


def promptsrc(n_ctx=4, n_ctx_v=3, depth=2, depth_v=3):
    shapes = {
        **_clip(),
        **_image_encoder("prompt_learner.ZS_image_encoder"),
        "prompt_learner.ctx": (n_ctx, WIDTH),
        **_classes(n_ctx, "prompt_learner."),
        "image_encoder.VPT": (n_ctx_v, VISION),
    }
    for i in range(1, depth_v):
        shapes[f"image_encoder.transformer.resblocks.{i}.VPT_shallow"] = (n_ctx_v, VISION)
    for i in range(1, depth):
        shapes[f"text_encoder.transformer.resblocks.{i}.VPT_shallow"] = (n_ctx, WIDTH)
    return _draw(shapes)


def sep(n_ctx=6, n_ctx_v=4, trained=1, modules=12):
    """The modules behind the first `trained` are as their template is, up to fp16."""
    shapes = {
        "ctx": (n_ctx, WIDTH),
        "ctx_visual": (n_ctx_v, VISION),
        **_classes(n_ctx),
        "VPT_fc.weight": (N_CLS, DIM),
        **_fusion("meta_net_", WIDTH),
        **_fusion("visual_meta_net_", VISION),
    }
    for i in range(modules):
        shapes.update({**_fusion(f"prompt_projections.{i}", WIDTH), **_fusion(f"visual_prompts.{i}", VISION)})
    weights = _draw(shapes)
    for stack, template in (("prompt_projections", "meta_net_"), ("visual_prompts", "visual_meta_net_")):
        for name in _fusion("", 1):
            for i in range(trained, modules):
                weights[f"{stack}.{i}{name}"] = weights[f"{template}{name}"].half()
    return weights


STATES = {
    "CoOp": coop,
    "CoCoOp": cocoop,
    "KgCoOp": kgcoop,
    "ProGrad": coop,
    "MaPLe": maple,
    "PromptSRC": promptsrc,
    "TCP": tcp,
    "SEP": sep,
}
