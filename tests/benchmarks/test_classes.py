from benchmarks.classes import draw


def test_curves_are_drawn(tmp_path):
    rows = [
        [name, what, n, n / 10, 1000 + n]
        for name in ("CoOp", "SEP")
        for what in ("training step", "test")
        for n in (5, 50)
    ]
    draw(rows, tmp_path / "curves.svg")
    text = (tmp_path / "curves.svg").read_text()
    assert all(label in text for label in ("CoOp, training step", "SEP, test", "CPU seconds", "peak MiB"))
