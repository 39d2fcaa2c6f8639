import torch

from pretraining.wider import wider
from trainers.backbone.clip_loader import build_clip
from trainers.prompting.prompt_text import tokenize


def test_it_computes_the_same(tiny_clip):
    plain = tiny_clip()
    wide = build_clip(wider(plain.state_dict(), {"text": 2, "visual": 3}))
    assert wide.ln_final.weight.shape == (128,) and wide.visual.conv1.weight.shape[0] == 192
    texts, pictures = tokenize(["a photo of a blue star.", "three leaves"]), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(wide.encode_text(texts), plain.encode_text(texts), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(wide.encode_image(pictures), plain.encode_image(pictures), atol=1e-5, rtol=1e-5)
