"""Pictures of every depth and kind, as 8-bit RGB."""

import io
import pickle
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dassl.data import data_manager
from dassl.data.data_manager import DatasetWrapper, build_data_loader
from dassl.data.datasets import Datum
from dassl.utils import read_image

RAMP = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)  # 8-bit value v is 257 v


def grey(path):
    image = read_image(str(path))
    assert image.mode == "RGB"
    red, green, blue = np.asarray(image).transpose(2, 0, 1)
    assert np.array_equal(red, green) and np.array_equal(red, blue)
    return red, image.info.get("scaled_from")


@pytest.mark.parametrize(
    ("name", "ramp", "said"),
    [("a.png", RAMP, "16 bits"), ("a.tif", RAMP, "16 bits"), ("a.tif", (RAMP / 65535).astype(np.float32), "floats")],
)
def test_deep_pictures(name, ramp, said, tmp_path):
    Image.fromarray(ramp).save(tmp_path / name)
    pixels, depth = grey(tmp_path / name)
    assert np.array_equal(pixels.ravel(), np.arange(256)) and depth == said


def test_16_bits_of_other_byte_order_or_format(tmp_path):
    Image.fromarray(RAMP.astype(">u2")).save(tmp_path / "a.tif")
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 65535\n" + RAMP.astype(">u2").tobytes())
    (tmp_path / "dim.pgm").write_bytes(b"P5 16 16 1023\n" + (RAMP // 64).astype(">u2").tobytes())
    for name in ("a.tif", "a.pgm", "dim.pgm"):
        assert np.abs(grey(tmp_path / name)[0].ravel() - np.arange(256.0)).max() <= 1


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20))
def test_each_value_is_rounded(values):
    file = io.BytesIO()
    Image.fromarray(np.array([values], dtype=np.uint16)).save(file, format="PNG")
    file.seek(0)
    assert np.asarray(read_image(file))[0, :, 0].tolist() == [int(np.rint(v / 257)) for v in values]


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.float32([[0, 255]]), "its floats are from 0 to 255, and must be from 0 to 1"),
        (np.float32([[-0.5, 1]]), "its floats are from -0.5 to 1"),
        (np.float32([[np.nan, 1]]), "its floats are from nan to nan"),
        (np.int32([[0, 70000]]), "it has signed whole numbers of 32 bits, and only 16 can be read"),
    ],
)
def test_what_cannot_be_scaled_is_refused(pixels, said, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf'^image "{tmp_path}/a.tif" cannot be decoded \({said}.*: replace'):
        read_image(str(tmp_path / "a.tif"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_pictures_of_8_bits_are_as_they_were(mode, tmp_path):
    noise = Image.effect_noise((9, 9), 90)
    path = tmp_path / ("a.jpg" if mode in ("CMYK", "YCbCr") else "a.png")
    Image.merge("RGB", [noise, noise.rotate(90), noise.rotate(180)]).convert(mode).save(path)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(read_image(str(path))), np.asarray(image.convert("RGB")))
    assert "scaled_from" not in read_image(str(path)).info


@pytest.mark.parametrize("kind", ["palette", "palette bytes", "grey", "colour"])
def test_transparency_is_no_reason_to_warn(kind, tmp_path):
    image = Image.new({"grey": "L", "colour": "RGB"}.get(kind, "P"), (8, 8), 3)
    if image.mode == "P":
        image.putpalette([7, 8, 9] * 256)
    key = {"palette": 3, "palette bytes": bytes(range(256)), "grey": 3, "colour": (3, 0, 0)}[kind]
    image.save(tmp_path / "a.png", transparency=key)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixel = read_image(str(tmp_path / "a.png")).getpixel((0, 0))
    assert pixel == {"grey": (3, 3, 3), "colour": (3, 0, 0)}.get(kind, (7, 8, 9))


def test_colour_of_16_bits(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"\0" + struct.pack(">6H", 0, 257 * 100, 65535, 257, 0, 65535)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    assert np.asarray(read_image(str(tmp_path / "a.png"))).tolist() == [[[0, 100, 255], [1, 0, 255]]]


@pytest.mark.parametrize("workers", [0, 2])
def test_scaling_is_said_once(workers, cfg, tmp_path, capfd):
    for i in range(12):
        Image.fromarray(RAMP).save(tmp_path / f"{i}.png")
    data = [Datum(str(tmp_path / f"{i}.png"), i % 2, 0, f"class {i % 2}") for i in range(12)]
    cfg.DATALOADER.NUM_WORKERS = workers
    data_manager._scaling_said.cache_clear()
    tfm = DatasetWrapper(cfg, data).to_tensor
    loaders = [
        build_data_loader(cfg, data_source=data, batch_size=4, tfm=tfm, is_train=train) for train in (True, False)
    ]
    for loader in loaders * 2:
        for batch in loader:
            assert batch["img"].shape == (4, 3, 8, 8)
    lines = [line for line in capfd.readouterr().out.splitlines() if "Warning" in line]
    assert len(lines) == 1
    assert lines[0].startswith('Warning: pictures such as "') and lines[0].endswith(
        '.png" (16 bits) are scaled to 8 bits by their own depth'
    )


def test_a_wrapper_can_be_copied(cfg, tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    copy = pickle.loads(pickle.dumps(DatasetWrapper(cfg, [Datum(str(tmp_path / "a.png"))])))
    assert copy[0]["img"].size == (16, 16)
