import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dassl.data.samplers import build_sampler

_random = random.Random(0)
DATA = [SimpleNamespace(label=_random.randrange(7), domain=_random.choice("cab")) for _ in range(150)]


def batches(sampler, batch_size):
    order = [int(i) for i in sampler]
    assert len(order) % batch_size == 0
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def test_sequential_and_random():
    assert list(build_sampler("SequentialSampler", data_source=DATA)) == list(range(150))
    order = list(build_sampler("RandomSampler", data_source=DATA))
    assert sorted(order) == list(range(150)) and order != sorted(order)


def test_domains_are_balanced_and_sorted():
    sampler = build_sampler("SeqDomainSampler", data_source=DATA, batch_size=12)
    for batch in batches(sampler, 12):
        assert [DATA[i].domain for i in batch] == ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    order = list(sampler)
    assert len(order) == len(sampler) == len(set(order))
    # it stops when the smallest domain cannot fill its share
    smallest = min(Counter(item.domain for item in DATA).values())
    assert len(order) == smallest // 4 * 12


def test_random_domains():
    chosen = set()
    for batch in batches(build_sampler("RandomDomainSampler", data_source=DATA, batch_size=12, n_domain=2), 12):
        counts = Counter(DATA[i].domain for i in batch)
        assert list(counts.values()) == [6, 6]
        chosen.add(tuple(counts))
    assert len(chosen) > 1
    for batch in batches(build_sampler("RandomDomainSampler", data_source=DATA, batch_size=12), 12):
        assert sorted(Counter(DATA[i].domain for i in batch).values()) == [4, 4, 4]


def test_random_classes():
    sampler = build_sampler("RandomClassSampler", data_source=DATA, batch_size=12, n_ins=4)
    for batch in batches(sampler, 12):
        assert list(Counter(DATA[i].label for i in batch).values()) == [4, 4, 4]
    order = list(sampler)
    assert len(set(order)) == len(order)


def test_a_class_with_too_few_images_repeats_them():
    data = DATA[:60] + [SimpleNamespace(label=99, domain="a")]
    sampler = build_sampler("RandomClassSampler", data_source=data, batch_size=32, n_ins=4)
    for batch in batches(sampler, 32):
        assert batch.count(60) == 4


@pytest.mark.parametrize("name", ["RandomSampler", "RandomDomainSampler", "SeqDomainSampler", "RandomClassSampler"])
def test_same_random_state_same_order(name):
    sampler = build_sampler(name, data_source=DATA, batch_size=12, n_ins=4)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    first, second = list(sampler), list(sampler)
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    assert list(sampler) == first != second
    assert list(sampler) == second


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("RandomSample", {}, 'unknown sampler "RandomSample": did you mean RandomSampler'),
        (
            "SeqDomainSampler",
            {"batch_size": 13},
            "a batch of 13 cannot hold equally many images of 3 domains",
        ),
        ("SeqDomainSampler", {"batch_size": 150}, "but a batch takes 50 of each"),
        ("RandomDomainSampler", {"batch_size": 12, "n_domain": 4}, "4 domains out of 3"),
        ("RandomClassSampler", {"batch_size": 3, "n_ins": 4}, "a batch of 3 cannot hold 4 images"),
        ("RandomClassSampler", {"batch_size": 32, "n_ins": 4}, "each of 8 classes out of 7"),
    ],
)
def test_impossible_batches_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_sampler(name, data_source=DATA, **options)
