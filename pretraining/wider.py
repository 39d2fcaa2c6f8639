"""shapes-tiny in ViT-B/16's widths, for code that has those widths in it; it computes the same.

    python -m pretraining.wider shapes-wide.pt

Each channel stands there several times (Net2WiderNet, arXiv 1511.05641): layer norms see the same mean and variance,
heads the same queries and keys, and what sums over channels is divided by how often they are there.
"""

import sys

import torch

from trainers.backbone.clip_loader import load_clip

TIMES = {"text": 4, "visual": 6}  # 128 channels become 512 and 768


def wider(state_dict, times=None):
    """A CLIP's state dict with as many times the channels of the text and of the image encoder; features stay."""
    times, found = times or TIMES, {}
    for name, weight in state_dict.items():
        k = times["visual" if name.startswith("visual.") else "text"]
        if name == "logit_scale":
            found[name] = weight
        elif name in ("text_projection", "visual.proj"):  # (channels, dim of the features)
            found[name] = weight.repeat(k, 1) / k
        elif ".in_proj_" in name:  # of queries, keys and values
            found[name] = torch.cat([_repeated(part, k) for part in weight.chunk(3)])
        elif name == "visual.conv1.weight":
            found[name] = weight.repeat(k, 1, 1, 1)
        elif name.endswith("positional_embedding") or name == "token_embedding.weight":  # (tokens, channels)
            found[name] = weight.repeat(1, k)
        else:
            found[name] = _repeated(weight, k)
    return found


def _repeated(weight, k):
    return weight.repeat(k, k) / k if weight.dim() == 2 else weight.repeat(k)


if __name__ == "__main__":
    torch.save(wider(load_clip("shapes-tiny").state_dict()), sys.argv[1])
