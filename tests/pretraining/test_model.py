import torch

from pretraining.data import Vocabulary
from pretraining.model import encode_image, encode_text, new_model
from trainers.prompting.prompt_text import tokenize


def test_the_encoders_are_clips():
    vocabulary, model = Vocabulary(), new_model(seed=3).eval()
    texts = ["a photo of a blue star.", "three leaves"]
    rows, ends = vocabulary.batch(texts)
    table = model.token_embedding.weight[vocabulary.rows]
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        text = encode_text(model, table, rows, ends)
        image = encode_image(model, pictures)
        torch.testing.assert_close(text, model.encode_text(tokenize(texts)), atol=1e-5, rtol=0)
        torch.testing.assert_close(image, model.encode_image(pictures), atol=1e-5, rtol=0)
        every = torch.arange(64).flip(0).expand(2, -1)  # all patches, in another order
        torch.testing.assert_close(encode_image(model, pictures, every), image, atol=1e-5, rtol=0)
