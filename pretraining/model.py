"""A small CLIP: its geometry, its start, and encoders that are fast on a CPU."""

import math

import torch
import torch.nn.functional as F
from clip.model import CLIP

from datasets.shapes.world import SIZE

from .data import normalise

PATCH, WIDTH, VISION_LAYERS, TEXT_LAYERS, CONTEXT, VOCABULARY = 8, 128, 6, 4, 77, 49408


def new_model(seed):
    """A fresh CLIP. Its token embedding is what `load_clip` fills in for the rows that the weights file leaves out."""
    torch.manual_seed(seed)
    model = CLIP(WIDTH, SIZE, VISION_LAYERS, WIDTH, PATCH, CONTEXT, VOCABULARY, WIDTH, WIDTH // 64, TEXT_LAYERS)
    embedding = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.02
    model.token_embedding.weight.data.copy_(embedding)
    return model


def warm_start(model, pictures):
    """Initialise the patch embedding and the vision tower's positions; shapes are learned several times faster.

    The patch embedding becomes a randomly turned whitening of the patches of `pictures` (uint8 [n, SIZE, SIZE, 3]),
    so that edges count as much as plain colour; positions are sines and cosines of row and column, strong enough to
    be noticed beside it.
    """
    patches = _patches(normalise(pictures / 255.0)).reshape(-1, 3 * PATCH**2)
    values, vectors = torch.linalg.eigh((patches.t() @ patches / len(patches)).double())
    whitening = vectors[:, -WIDTH:] / (values[-WIDTH:] + 0.01).sqrt()  # [3 * PATCH**2, WIDTH]
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0]
    visual = model.visual
    visual.conv1.weight.data.copy_((turn @ whitening.t().float()).view_as(visual.conv1.weight))
    grid = SIZE // PATCH
    row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    waves = torch.tensor([0.5, 1, 1.5, 2, 3, 4, 5, 6]) * math.pi / grid
    angles = torch.cat([row.flatten()[:, None] * waves, column.flatten()[:, None] * waves], 1)
    code = torch.cat([angles.sin(), angles.cos()], 1)  # (grid**2, 32)
    turn = torch.linalg.qr(torch.randn(WIDTH, code.shape[1]))[0]
    visual.positional_embedding.data[1:] = 0.5 * code @ turn.t()


def _block(block, x, mask):
    """clip's ResidualAttentionBlock on x [B, L, D]; written out since, on a CPU, this is twice as fast."""
    b, n, d = x.shape
    qkv = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
    q, k, v = qkv.view(b, n, 3, d // 64, 64).permute(2, 0, 3, 1, 4)
    scores = (q * 0.125) @ k.transpose(-1, -2)
    scores = scores if mask is None else scores + mask
    mixed = (scores.softmax(-1).to(v.dtype) @ v).transpose(1, 2).reshape(b, n, d)
    x = x + block.attn.out_proj(mixed)
    return x + block.mlp(block.ln_2(x))


def _patches(pictures):
    """Normalised pictures [B, 3, SIZE, SIZE] as patches [B, n, 3 * PATCH**2], in the order of conv1's weights."""
    grid = SIZE // PATCH
    cut = pictures.view(-1, 3, grid, PATCH, grid, PATCH).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(-1, grid**2, 3 * PATCH**2)


def encode_image(model, pictures, kept=None):
    """Features [B, WIDTH] of normalised pictures; kept [B, k] are the patches to look at (all by default)."""
    visual = model.visual
    patches = _patches(pictures)
    places = visual.positional_embedding[1:].expand(len(patches), -1, -1)
    if kept is not None:
        patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))
        places = places.gather(1, kept[..., None].expand(-1, -1, WIDTH))
    x = F.linear(patches, visual.conv1.weight.flatten(1)) + places
    first = (visual.class_embedding + visual.positional_embedding[0]).expand(len(x), 1, -1)
    x = visual.ln_pre(torch.cat([first, x], 1))
    for block in visual.transformer.resblocks:
        x = _block(block, x, None)
    return visual.ln_post(x[:, 0]) @ visual.proj


def encode_text(model, table, rows, ends):
    """Features [n, WIDTH] of sentences given as rows of `table` [k, WIDTH], cut after the longest one."""
    length = rows.shape[1]
    x = F.embedding(rows, table) + model.positional_embedding[:length]
    mask = torch.full((length, length), float("-inf")).triu(1)
    for block in model.transformer.resblocks:
        x = _block(block, x, mask)
    return model.ln_final(x[torch.arange(len(x)), ends]) @ model.text_projection
