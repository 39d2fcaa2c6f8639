import argparse

import pytest

from benchmarks import predict
from trainers.prompting.model import PromptedCLIP


@pytest.fixture
def arguments():
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    return lambda *words: parser.parse_args([*words, "--side", "40", "--batch-size", "3", "--threads", "1"])


def test_reading_the_model_and_both(arguments, monkeypatch, tmp_path):
    monkeypatch.setattr(predict.tempfile, "tempdir", str(tmp_path))
    encoded, encode_image = [], PromptedCLIP.encode_image
    monkeypatch.setattr(
        PromptedCLIP, "encode_image", lambda self, image: encoded.append(len(image)) or encode_image(self, image)
    )
    table = predict.measure(arguments("--pictures", "7", "--rounds", "1"))
    assert table.title.startswith("ZeroshotCLIP on shapes-tiny, 7 JPEGs of 40 x 40, batches of 3, 1 threads, cpu")
    names, speeds, of_slower, of_both = zip(*table.rows)
    assert names == ("reading alone", "model alone", "predicting") and min(speeds) > 0
    assert min(of_slower[:2]) == pytest.approx(1) and of_slower[2] == pytest.approx(speeds[2] / min(speeds[:2]))
    assert of_both[2] == pytest.approx(speeds[2] * (1 / speeds[0] + 1 / speeds[1]))
    assert encoded == [3, 3, 1] * 6  # reading alone calls no model; two rounds warm up
    assert list(tmp_path.iterdir()) == []
