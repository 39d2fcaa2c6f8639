"""Turn a checkpoint of SEP's public code into one of this repository.

    python tools/import_checkpoint.py THEIRS/prompt_learner/model.pth.tar-50 OURS/prompt_learner/model.pth.tar-50

Test the result with TRAINER.SEP.VARIANT released and the LAYERS it was trained with.
"""

import argparse
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

import trainers  # noqa: E402, F401  first: it prepares torchvision
from trainers.prompting import checkpoint  # noqa: E402
from trainers.prompting.errors import UserError  # noqa: E402

ALL_LAYERS = tuple(range(1, 12))  # what the authors trained with (their L_IND 0)

_STACKS = {"prompt_projections": "text_enhancer", "visual_prompts": "image_enhancer"}
_PARTS = {
    "promt_attention_visual": "attn",
    "ln_pa_1_visual": "ln_1",
    "ln_pa_2_visual": "ln_2",
    "mlp_pa_visual.c_fc1": "mlp_in",
    "mlp_pa_visual.c_proj": "mlp_out",
    "scale1": "scale_1",
    "scale2": "scale_2",
}


def sep_name(name, layers=ALL_LAYERS):
    """Our name of one of their parameters, or None if ours has no such thing.

    Theirs number fusion modules by their place in LAYERS and keep twelve of them; unused ones, the templates they
    were cloned from, class prototypes and class-name embeddings have no counterpart.
    """
    if name in ("ctx", "ctx_visual"):
        return name
    match = re.match(r"(prompt_projections|visual_prompts)\.(\d+)\.(.+)$", name)
    if match is None or int(match.group(2)) >= len(layers):
        return None
    stack, index, rest = match.groups()
    for theirs, ours in _PARTS.items():
        if rest == theirs or rest.startswith(theirs + "."):
            return f"{_STACKS[stack]}.{layers[int(index)]}.{ours}{rest[len(theirs) :]}"
    return None  # ln_pa_1_token, never used


def convert_sep(state_dict, layers=ALL_LAYERS):
    """Their prompt learner's state dict -> ours, float32."""
    named = {sep_name(name, layers): value.float() for name, value in state_dict.items()}
    named.pop(None, None)
    return named


def convert(theirs, ours, layers=ALL_LAYERS):
    """Read checkpoint `theirs`, write `ours`; returns the number of tensors. Raises UserError."""
    state = checkpoint.read(theirs)
    name, epoch = os.path.basename(ours), state["epoch"]
    if name != checkpoint.BEST and checkpoint.epoch_of(ours) != epoch:
        wanted = os.path.basename(checkpoint.path_of("", epoch))
        raise UserError(f'"{ours}" would not be found by its epoch, which is {epoch}: call it {wanted}.')
    converted = convert_sep(state["state_dict"], layers)
    if "ctx" not in converted:
        raise UserError(f'"{theirs}" is no checkpoint of SEP\'s public code: it has no "ctx".')
    checkpoint.write({"state_dict": converted, "epoch": epoch}, ours)
    return len(converted)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("theirs", help="checkpoint of SEP's public code")
    parser.add_argument("ours", help="file to write")
    parser.add_argument("--layers", type=int, nargs="+", default=ALL_LAYERS, help="LAYERS it was trained with")
    args = parser.parse_args()
    try:
        n = convert(args.theirs, args.ours, args.layers)
    except UserError as error:
        parser.exit(1, f"error: {error}\n")
    print(f"Wrote {n} tensors to {args.ours}")


if __name__ == "__main__":
    main()
