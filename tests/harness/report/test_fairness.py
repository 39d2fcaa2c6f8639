"""What a comparison leaves out is counted, not typed."""

from harness.catalogue import METHODS
from harness.report import fairness
from harness.report.runs import find_runs
from tests.harness.runs import as_dicts, finish
from tools.report import main


def table_of(output):
    (table,) = fairness.fairness_tables(find_runs(output)[0])
    return {row["method"]: row for row in as_dicts(table)}


def test_settings_are_counted_over_the_papers_data_sets(tmp_path):
    for trainer in ("CoPrompt", "SEP", "MMRL", "CLIPLoRA", "TipAdapterF"):
        finish(tmp_path, "few_shot", 1, 50.0, trainer=trainer)
    found = table_of(tmp_path)
    assert found["CLIPLoRA"]["settings, all protocols"] == "1"
    assert found["CoPrompt"]["settings, base-to-new"] == "4 (3 keys)"  # layers, tokens and epochs
    counts = [found["SEP"][f"settings, {name}"] for name in ("base-to-new", "few-shot", "all protocols")]
    assert counts == ["2 (2 keys)", "2 (2 keys)", "3 (2 keys)"]  # of ImageNet and SUN397, and across data sets
    assert found["TipAdapterF"]["settings, base-to-new"] == "\u2014"
    assert found["TipAdapterF"]["model chosen by"] == "validation images (two weights)"
    assert [found[name]["told the half"] for name in ("SEP", "MMRL")] == ["no", "yes"]
    assert found["CoPrompt"]["reads beside images and labels"].startswith("a language model's sentences")


def test_keys_are_those_that_differ(tmp_path, monkeypatch):
    files = {"a": {"LR": 1, "EPOCHS": 5}, "b": {"LR": 2, "EPOCHS": 5}, "c": {"LR": 1, "EPOCHS": 5, "N": 3}}
    method = METHODS[1]._replace(configs=tuple(METHODS[1].configs[0]._replace(name=n, protocol="", shots="", datasets=d)
                                               for n, d in (("a", "dtd"), ("b", "food101"), ("c", ""))))  # fmt: skip
    monkeypatch.setattr(fairness, "_settings", lambda trainer, name: {k: repr(v) for k, v in files[name].items()})
    assert fairness._counted(method, [("base2new", 16)]) == "3 (2 keys)"
    files["b"] = files["a"]
    assert fairness._counted(method, [("base2new", 16)]) == "2 (1 key)"
    files["c"] = files["a"]
    assert fairness._counted(method, [("base2new", 16)]) == "1"


def test_what_runs_say(tmp_path, capsys):
    record = {"seconds": 60, "peak_memory_mb": 300, "learnable_parameters": 2048, "max_epoch": 1, "epoch": 1}
    for seed in (1, 2):
        settings = {"TRAINER.SEP.PREC": "amp", "TEST.FINAL_MODEL": "best_val"}
        finish(tmp_path, "base", seed, 50.0, settings=settings, record=record)
    row = table_of(tmp_path)["SEP"]
    assert (row["precision"], row["parameters"], row["seconds"], row["memory"]) == ("amp", "2,048", "60.0", "300")
    assert row["model chosen by"] == "validation images (epoch)"
    assert main([str(tmp_path), "--fairness"]) == 0 and "What the comparison leaves out" in capsys.readouterr().out


def test_a_method_of_somebody_else(tmp_path):
    for trainer in ("SEP", "Mine"):
        finish(tmp_path, "base", 1, 50.0, trainer=trainer)
    (table,) = fairness.fairness_tables(find_runs(tmp_path)[0])
    assert len(table.rows) == 1 and table.notes[-1] == "Nothing is known of Mine."
