"""Every method's prompts of all class names of CoOp's own split files: they fit, and no two of a data set are one."""

import pytest
import torch

from tests.real_splits import REAL, names_of, needs_them
from tests.trainers.methods import METHODS, often
from trainers.prompting.prompt_text import PromptSequences, n_tokens, words_of

pytestmark = needs_them
END = 49407  # of a text, a token


@pytest.fixture(scope="module")
def names():
    return {name: names_of(name) for name, _ in REAL.values()}


def test_no_name_is_cut_or_read_as_another(names):
    for name, classnames in names.items():
        lengths = [n_tokens(words_of(classname)) for classname in classnames]
        assert 0 < min(lengths) and max(lengths) <= 20, name
        assert len(set(classnames)) == len(classnames) == dict(REAL.values())[name]


# PromptKD's names are read by its teacher, the linear probe's by nobody
READ = [name for name, row in METHODS.items() if row.reads_names and name != "promptkd"]
ENSEMBLES = {"promptsrc", "mma_pp"}  # which read tens of templates a class


@pytest.mark.parametrize("method", often(READ, set(READ) - ENSEMBLES))
def test_prompts(method, build, tiny_clip, names):
    clip_model = tiny_clip()
    for name, classnames in names.items():
        model = build(method, "DATASET.NAME", name, classnames=classnames, clip_model=clip_model)
        sequences = [module for module in model.modules() if isinstance(module, PromptSequences)]
        for module in sequences:
            tokens = module.tokenized_prompts
            assert tokens.shape == (len(classnames), 77) and len(tokens.unique(dim=0)) == len(classnames)
            assert (tokens == END).sum(dim=1).eq(1).all(), "each has its end"
        features = model.hand_features
        if features is None and not sequences:
            with torch.no_grad():
                features = model.encode_text()
        if features is not None:
            assert features.shape == (len(classnames), 32) and len(features.unique(dim=0)) == len(classnames)
            assert torch.isfinite(features).all()
