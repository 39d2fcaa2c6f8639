"""Where our lines go in a train.py, and out again: hypothesis lays out files, the trees are the forms met in public."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.forks.train_file import IMPORT, RESTORE, NoPlace, TrainFile, without_lines
from tests.harness.forks.trees import KINDS

LATIN = "# -*- coding: latin-1 -*-\n"
CALLS = "cfg = get_cfg_default()\nbuild_trainer(cfg)\n"


def added(content):
    train = TrainFile(content, "train.py")
    return train.with_lines(train.lines()), [line.text for line in train.lines()]


def rows_of(content):
    return content.decode().splitlines()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("cut", [False, True], ids=["", "no-final-newline"])
def test_forms_met_in_public(tmp_path, kind, end, cut):
    text = (KINDS[kind](tmp_path / kind) / "train.py").read_text()
    content = (text.rstrip("\n") if cut else text).replace("\n", end).encode()
    changed, lines = added(content)
    rows = rows_of(changed)
    at = rows.index(IMPORT)
    assert rows[at - 1].startswith("import trainers") and rows.count(IMPORT) == 1
    assert changed.count(b"\r\n") == (changed.count(b"\n") if end == "\r\n" else 0)
    assert len(lines) == 1 + (kind == "dept")
    if kind == "dept":
        at = rows.index(f"    {RESTORE}(cfg)")
        assert rows[at - 1] == "    extend_cfg(cfg)"
    assert without_lines(changed, lines) == content


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from trainers import coop\nx = 1\n", f"from trainers import coop\n{IMPORT}\nx = 1\n"),
        ("from trainers.coop import (\n    CoOp,\n)\n", f"from trainers.coop import (\n    CoOp,\n)\n{IMPORT}\n"),
        ("import trainers.a, os; x = 1\n", f"import trainers.a, os; x = 1\n{IMPORT}\n"),
        ("import trainers.a", f"import trainers.a\n{IMPORT}"),
        ('import trainers.a\nx = """\n', None),
        ("import trainers2\n", None),
        ("def f():\n    import trainers.a\n", None),
        ("try:\n    import trainers.a\nexcept ImportError:\n    pass\n", None),
        (f"{LATIN}import trainers.a  # \xe9\n", f"{LATIN}import trainers.a  # \xe9\n{IMPORT}\n"),
    ],
)  # fmt: skip
def test_other_forms(before, after):
    content = before.encode("latin-1")
    if after is None:
        with pytest.raises(NoPlace, match="train.py"):
            added(content)
    else:
        changed, lines = added(content)
        assert changed == after.encode("latin-1") and without_lines(changed, lines) == content


STATEMENTS = st.sampled_from(
    ["x = 1", "import trainers.coop", "import os", "# import trainers.q", 'y = """\nimport trainers.q\n"""', "", "\f"]
)


@given(st.lists(STATEMENTS), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_comes_and_goes_without_a_trace(statements, end, final):
    content = (end.join(["import trainers.base", *statements]) + end * final).encode()
    changed, lines = added(content)
    assert without_lines(changed, lines) == content
    ours = [node for node in ast.parse(changed).body if ast.unparse(node) == IMPORT]
    assert len(ours) == 1 and len(ast.parse(changed).body) == len(ast.parse(content).body) + 1


@given(st.text(alphabet="import trains.copx\n\r\f\t;#'\"\\ ", max_size=60))
def test_any_text_is_left_whole_or_refused(text):
    content = text.encode()
    try:
        changed, lines = added(content)
    except NoPlace:
        return
    assert without_lines(changed, lines) == content


SETUP = "def setup():\n    cfg = get_cfg_default()\n"
CLEANERS = {
    "called": f"{SETUP}    clean_cfg(cfg, 'A')\n    cfg.merge_from_file('f')\n",
    "in a loop": f"{SETUP}    for k in list(cfg.TRAINER):\n        cfg.TRAINER.pop(k)\n    cfg.merge_from_list([])\n",
    "own function": f"def tidy(cfg):\n    del cfg.TRAINER['A']\n\n\n{SETUP}    tidy(cfg)\n"
    "    if True:\n        cfg.merge_from_file('f')\n",
}


@pytest.mark.parametrize("how", CLEANERS)
def test_nodes_are_put_back_behind_what_removes_them(how):
    content = f"import trainers.a\n{CLEANERS[how]}".encode()
    changed, lines = added(content)
    rows = rows_of(changed)
    at = rows.index(f"    {RESTORE}(cfg)")
    assert "merge" in "".join(rows[at + 1 : at + 3]) and "merge" not in "".join(rows[:at])
    assert without_lines(changed, lines) == content


@pytest.mark.parametrize(
    "text",
    [
        f"{SETUP}    cfg.merge_from_file('f')\n    clean_cfg(cfg, 'A')\n",
        "cfg = get_cfg_default()\nclean_cfg(cfg, 'A')\ncfg.merge_from_file('f')\n",
        f"{SETUP}    return cfg\n\n\ndef main():\n    clean_cfg(setup(), 'A')\n",
    ],
)
def test_refused_where_they_cannot_be_put_back(text):
    with pytest.raises(NoPlace, match=r"clean_cfg.*restore_nodes"):
        added(f"import trainers.a\n{text}".encode())


def test_what_it_reads():
    train = TrainFile(
        b"import trainers.a\n"
        b"def extend_cfg(cfg):\n"
        b"    cfg.TRAINER.COOP = CN()\n"
        b"    cfg.TRAINER.COOP.N_CTX = 16\n"
        b"    cfg.OPTIM.STAGED_LR = True\n"
        b"    cfg.DATALOADER.TRAIN_X.SAMPLER = 'S'\n"
        b"    cfg.OPTIM.LR = args.lr\n"
        b"    if args.x:\n"
        b"        cfg.OPTIM.NAME = 'adam'\n" + CALLS.encode(),
        "train.py",
    )
    assert train.is_of_a_fork() and not train.imports_ours()
    assert train.nodes() == {"COOP"}
    assert train.defaults() == {"OPTIM.STAGED_LR": True, "DATALOADER.TRAIN_X.SAMPLER": "S"}
    assert not TrainFile(b"import trainers.a\n", "train.py").is_of_a_fork()


@pytest.mark.parametrize("how", ["gone", "twice", "changed"])
def test_lines_that_somebody_has_touched(how):
    changed, lines = added(b"import trainers.a\nx = 1\n")
    touched = {
        "gone": b"import trainers.a\nx = 1\n",
        "twice": changed + IMPORT.encode(),
        "changed": changed.replace(IMPORT.encode(), IMPORT.encode() + b" as p"),
    }[how]
    assert without_lines(touched, lines) is None
    assert without_lines(changed + b"y = 2\n", lines) == b"import trainers.a\nx = 1\ny = 2\n"


ALONE = "which may end on a trainer that it does not know"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cfg.merge_from_list(of(trainer=cfg.TRAINER.NAME))", "line 3, uses the trainer's name"),
        ("task = args.opts[args.opts.index('TASK') + 1]", r"line 3, reads the KEY VALUE pairs \(args.opts\)"),
        ("assert args.trainer in ('A', 'B')", "line 3, uses the trainer's name"),
        (
            "if args.trainer == 'A':\n        pass\n    else:\n        raise ValueError",
            "line 3, tests the trainer's name",
        ),
        ("if cfg.TRAINER.NAME == 'A':\n        pass\n    else:\n        of(args.opts)", "line 6, reads the KEY"),
        ("if not args.trainer:\n        raise ValueError", None),
        ("if args.trainer:\n        cfg.TRAINER.NAME = args.trainer", None),
        ("if args.trainer:\n        of(args.opts)", "line 4, reads the KEY VALUE pairs"),
        ("if cfg.TRAINER.NAME in ('A', 'B'):\n        cfg.merge_from_list(of(cfg.TRAINER.NAME, args.opts))", None),
        ("cfg.merge_from_list(args.opts)", None),
        ("trainer.test(is_final=True)", "line 3, calls the trainer with is_final=, which may end on a trainer"),
        ("if args.eval_only:\n        trainer.load_model(args.model_dir, strict=False)", "line 4, .* with strict="),
        ("if cfg.TRAINER.NAME == 'A':\n        trainer.test(is_final=True)\n    else:\n        trainer.test()", None),
        ("trainer.load_model(args.model_dir, epoch=args.load_epoch)\n    trainer.test(split='val')", None),
        ("parser.test(is_final=True)", None),
        ("print(cfg.TRAINER.NAME, args.opts)", None),
        ("clean_cfg(cfg, args.trainer)", None),
        ("cfg.TRAINER.NAMES = ['a']", None),
    ],
)
def test_what_is_for_its_own_trainers_alone(line, said):
    train = TrainFile(f"import trainers.a\ndef f(cfg, args):\n    {line}\n".encode(), "train.py")
    if said is None:
        train.refuse_own_trainers_alone()
    else:
        with pytest.raises(NoPlace, match=said) as error:
            train.refuse_own_trainers_alone()
        assert ALONE in str(error.value)
