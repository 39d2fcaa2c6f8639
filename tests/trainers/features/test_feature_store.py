"""Blocks on a disk: whole, checked, never more than allowed, and never the end of a run."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.features import feature_store
from trainers.features.feature_store import FeatureStore, digest


def block(seed, n=3, dim=4):
    return np.random.RandomState(seed).randn(n, dim).astype(np.float32)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(str(tmp_path / "store"), 10**6)


def files(store):
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(store.folder) for name in names)


def test_what_is_kept_is_found_again(store):
    assert store.get("a/b") is None
    store.put("a/b", block(0))
    found = store.get("a/b")
    assert isinstance(found, np.memmap) and not found.flags.writeable
    assert np.array_equal(found, block(0)) and found.dtype == np.float32
    assert store.get("a/c") is None and store.get("b/b") is None


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.none())))
def test_the_order_of_what_is_digested_does_not_matter(what):
    assert digest(what) == digest(dict(reversed(what.items())))
    assert digest(what) != digest({**what, "another": 1})


@given(st.data())
def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path_factory, data):
    store = FeatureStore(str(tmp_path_factory.mktemp("store")), 10**6)
    store.put("a/b", block(1))
    (path,) = files(store)
    with open(path, "rb") as file:
        content = bytearray(file.read())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[position] ^= data.draw(st.integers(1, 255))
    else:
        del content[position:]
    with open(path, "wb") as file:
        file.write(content)
    assert store.get("a/b") is None and not files(store)
    store.put("a/b", block(1))
    assert np.array_equal(store.get("a/b"), block(1))


def test_a_block_under_another_name_is_damage(store):
    store.put("a/b", block(1))
    (path,) = files(store)
    os.rename(path, path.replace("b.features", "c.features"))
    assert store.get("a/c") is None


def test_the_blocks_unused_for_longest_make_room(tmp_path):
    size = len(open_size(tmp_path, block(0)))
    store = FeatureStore(str(tmp_path / "store"), 3 * size)
    foreign = tmp_path / "store" / "mine" / "thesis.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"0" * 10 * size)
    for i in range(3):
        store.put(f"a/{i}", block(i))
        os.utime(files(store)[i], ns=(0, 1000 + i))
    assert store.get("a/0") is not None  # used: now the newest
    store.put("b/3", block(3))
    assert [store.get(name) is not None for name in ("a/0", "a/1", "a/2", "b/3")] == [True, False, True, True]
    assert foreign.exists()


def pixels(seed):
    return np.random.RandomState(seed).randint(0, 256, (3, 4, 4, 3), np.uint8)


def test_pixels_are_kept_as_they_are(store):
    store.put("pixels-a/b", pixels(0))
    found = store.get("pixels-a/b")
    assert store.has("pixels-a/b") and not store.has("pixels-a/c")
    assert np.array_equal(found, pixels(0)) and found.dtype == np.uint8


def outputs(seed):
    return block(seed, 6, 6).reshape(3, 2, 6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_outputs_are_kept_as_they_are(store, dtype):
    store.put("outputs-a/b", outputs(0).astype(dtype))
    found = store.get("outputs-a/b")
    assert np.array_equal(found, outputs(0).astype(dtype)) and found.dtype == dtype


@pytest.mark.parametrize("kind, large, made", [("pixels-a", pixels, "decoded"), ("outputs-a", outputs, "encoded")])
def test_what_is_large_takes_what_features_leave(tmp_path, capsys, kind, large, made):
    """It goes first, and gets no room from what was used within a week: what came first stays."""
    size = len(open_size(tmp_path, block(0)))
    store = FeatureStore(str(tmp_path / "store"), 4 * size)
    store.put("a/0", block(0))
    for i in range(9):
        store.put(f"{kind}/{i}", large(i))
    kept = [i for i in range(9) if store.has(f"{kind}/{i}")]
    assert kept == list(range(len(kept))) and 1 < len(kept) < 9 and store.get("a/0") is not None
    assert capsys.readouterr().out.count(f"full, so that the other pictures are {made} each time: raise STORE") == 1
    for i in range(3):  # a feature is never refused
        store.put(f"b/{i}", block(i))
    assert all(store.has(name) for name in ("a/0", "b/0", "b/1", "b/2")) and not store.has(f"{kind}/0")


def test_pixels_that_nobody_has_used_make_room_for_others(tmp_path):
    store = FeatureStore(str(tmp_path / "store"), 1500)
    for i in range(9):
        store.put(f"pixels-a/{i}", pixels(i))
    for path in files(store):
        os.utime(path, ns=(0, time.time_ns() - feature_store.IN_USE - 10**9))
    store = FeatureStore(store.folder, 1500)
    store.put("pixels-b/0", pixels(0))
    assert store.has("pixels-b/0") and sum(map(os.path.getsize, files(store))) <= 1500


def open_size(tmp_path, features):
    one = FeatureStore(str(tmp_path / "one"), 10**6)
    one.put("a/b", features)
    with open(files(one)[0], "rb") as file:
        return file.read()


@pytest.mark.parametrize("reason", ["room", "file"])
def test_where_nothing_can_be_written_it_is_said_once(store, capsys, monkeypatch, reason):
    store.put("a/b", block(0))
    if reason == "room":
        monkeypatch.setattr(feature_store, "ROOM", 2**60)
    else:
        with open(os.path.join(store.folder, "c"), "w", encoding="utf-8"):  # in the place of a folder
            pass
    for i in range(3):
        store.put(f"c/{i}", block(i))
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(f'Note: the feature store "{store.folder}" cannot be written to (') and "STORE" in said
    assert np.array_equal(store.get("a/b"), block(0)) and len(files(store)) == 1 + (reason == "file")


def write_forever(folder, started):
    store = FeatureStore(folder, 10**9)
    while True:
        for i in range(5):
            store.put(f"a/{i}", block(i, 1000, 64))
            started.set()


@pytest.mark.long
def test_several_writers_and_kills(store):
    """Readers see whole blocks, or none, while two processes write the same ones and are killed."""
    spawn = multiprocessing.get_context("spawn")
    reader = FeatureStore(store.folder, 10**9)
    for _ in range(3):
        started = [spawn.Event(), spawn.Event()]
        writers = [spawn.Process(target=write_forever, args=(store.folder, event)) for event in started]
        for writer in writers:
            writer.start()
        assert all(event.wait(60) for event in started)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            for i in range(5):
                found = reader.get(f"a/{i}")
                assert found is None or np.array_equal(found, block(i, 1000, 64))
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
    reader.put("a/5", block(5))
    assert {os.path.basename(path) for path in files(reader)} == {f"{i}.features" for i in range(6)}
