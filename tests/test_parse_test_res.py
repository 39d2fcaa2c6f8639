from pathlib import Path

import pytest

from parse_test_res import main
from tests.conftest import python

BLOCK = """Evaluate on the *{split}* set
=> result
* total: 1,549
* correct: 1,505
* accuracy: {accuracy}%
* error: 2.8%
* macro_f1: {f1}%
"""
HEAD = """***************
** Arguments **
***************
eval_only: {eval_only}
seed: 1
Loading dataset
epoch [1/2][5/10] time 0.3 (0.3) data 0.0 (0.0) loss 0.9 (0.9) acc 71.8 (75.0) lr 1.0e-05 eta 0:00:01
"""


def result(accuracy, f1="90.1", split="test"):
    return BLOCK.format(accuracy=accuracy, f1=f1, split=split)


def train_log(accuracy):
    """As Dassl writes it: evaluations on the validation set, then the end of training, then the test."""
    validated = result("99.9", split="val")
    return (
        HEAD.format(eval_only=False) + validated + "Finish training\nDeploy the last-epoch model\n" + result(accuracy)
    )


def test_log(accuracy):
    return HEAD.format(eval_only=True) + result(accuracy)


test_log.__test__ = False  # a log of a test, not a test


def write(folder, text, name="log.txt"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.fixture
def three_seeds(tmp_path):
    for seed, accuracy in enumerate(("91.8", "92.0", "92.2"), start=1):
        write(tmp_path / f"seed{seed}", train_log(accuracy))
    return tmp_path


def test_mean_and_spread_in_coops_lines(three_seeds, capsys):
    assert main([str(three_seeds)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Parsing files in {three_seeds}"
    assert lines[1] == f"file: {three_seeds}/seed1/log.txt. accuracy: 91.80%. "
    # sqrt((0.2^2 + 0 + 0.2^2) / 3) = 0.163
    assert lines[4:] == ["===", f"Summary of directory: {three_seeds}", "* accuracy: 92.00% +- 0.16%", "==="]


def test_confidence_interval(three_seeds, capsys):
    main([str(three_seeds), "--ci95"])
    assert "* accuracy: 92.00% +- 0.18%" in capsys.readouterr().out  # 1.96 * 0.163 / sqrt(3)


def test_keyword(three_seeds, capsys):
    main([str(three_seeds), "--keyword", "macro_f1"])
    assert "* macro_f1: 90.10% +- 0.00%" in capsys.readouterr().out
    assert main([str(three_seeds), "--keyword", "macro.f1"]) == 1  # a name, not a pattern


def test_seed_without_result_is_named(three_seeds, capsys):
    write(three_seeds / "seed2", HEAD.format(eval_only=False))
    (three_seeds / "seed4").mkdir()
    (three_seeds / "notes.txt").touch()
    assert main([str(three_seeds)]) == 0
    out = capsys.readouterr().out
    assert "missing (no result in the log): seed2, seed4" in out
    assert "* accuracy: 92.00% +- 0.20%" in out


def test_resumed_runs_count_once_with_their_last_result(tmp_path, capsys):
    write(tmp_path / "seed1", HEAD.format(eval_only=False) + train_log("70.0") + train_log("71.0"))
    write(tmp_path / "seed2", HEAD.format(eval_only=False))  # killed, then resumed: Dassl starts a second log
    write(tmp_path / "seed2", train_log("73.0"), "log.txt-2024-05-01-10-00-00")
    write(tmp_path / "seed3", train_log("75.0") + HEAD.format(eval_only=False) + result("1.0", split="val"))
    main([str(tmp_path)])
    assert "* accuracy: 73.00% +- 1.63%" in capsys.readouterr().out


def test_logs_of_testing_only(tmp_path, capsys):
    write(tmp_path / "seed1", result("66.6"))
    assert main([str(tmp_path)]) == 1
    assert "--test-log" in capsys.readouterr().err
    assert main([str(tmp_path), "--test-log"]) == 0
    assert "* accuracy: 66.60% +- 0.00%" in capsys.readouterr().out


def test_logs_that_say_they_only_test_need_no_flag(tmp_path, capsys):
    write(tmp_path / "seed1", test_log("66.6"))
    assert main([str(tmp_path)]) == 0


def test_several_experiments(tmp_path, capsys):
    for name, accuracies in {"a": ("60.0", "62.0"), "b": ("81.0",), "c": ()}.items():
        (tmp_path / name).mkdir()
        for seed, accuracy in enumerate(accuracies):
            write(tmp_path / name / f"seed{seed}", train_log(accuracy))
    assert main([str(tmp_path), "--multi-exp"]) == 0
    out = capsys.readouterr().out
    assert "* accuracy: 61.00% +- 1.00%" in out
    assert out.endswith("Average performance\n* accuracy: 71.00%\nmissing (no result at all): c\n")


@pytest.mark.parametrize("make", [lambda folder: None, Path.mkdir, lambda folder: write(folder, "x")])
def test_folder_that_cannot_be_right_is_one_sentence(tmp_path, capsys, make):
    folder = tmp_path / "runs"
    make(folder)
    assert main([str(folder)]) == 2
    err = capsys.readouterr().err
    assert str(folder) in err and len(err.splitlines()) == 1 and err.startswith("error: ")


def test_progress_bars_and_broken_bytes_in_a_log(tmp_path, capsys):
    folder = tmp_path / "seed1"
    folder.mkdir()
    bar = b"\r 10%|\xe2\x96 | 1/10\r100%|\xff| 10/10\r\n"
    (folder / "log.txt").write_bytes(train_log("55.5").replace("=>", "@@").encode().replace(b"@@", bar + b"=>"))
    main([str(tmp_path)])
    assert "* accuracy: 55.50% +- 0.00%" in capsys.readouterr().out


def test_runs_as_a_command_without_torch(three_seeds):
    code = (
        "import sys, runpy; sys.modules['torch'] = None; sys.argv = ['parse_test_res.py', sys.argv[1]]; "
        "runpy.run_path('parse_test_res.py', run_name='__main__')"
    )
    assert "* accuracy: 92.00% +- 0.16%" in python(code, three_seeds)
