import json

import pytest
from PIL import Image

import trainers.base  # noqa: F401  adds DATASET.SUBSAMPLE_CLASSES, as a fork's extend_cfg does
from dassl.config import get_cfg_default
from datasets.image_folder import ImageFolder, ImageFolderShift
from tests.conftest import REPOSITORY

CLASSES = ("green_tree", "Ant", "zebra")
LABELS = {"Ant": 0, "green_tree": 1, "zebra": 2}


def tree(folder, splits=("train", "val", "test"), n=3):
    for split in splits:
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for i in range(n):
                Image.new("RGB", (4, 4)).save(folder / split / name / f"{i}.{('png', 'JPG', 'webp')[i % 3]}")


def load(root, *pairs, kind=ImageFolder):
    cfg = get_cfg_default()
    cfg.merge_from_file(REPOSITORY / "configs/datasets/image_folder.yaml")
    cfg.merge_from_list(["DATASET.ROOT", str(root), *pairs])
    assert cfg.DATASET.NAME == kind.__name__
    return kind(cfg)


def test_a_tree(tmp_path, capsys):
    tree(tmp_path / "image_folder")
    (tmp_path / "image_folder/train/.DS_Store").write_text("")
    dataset = load(tmp_path)
    assert "Warning" not in capsys.readouterr().out
    assert dataset.classnames == ["Ant", "green_tree", "zebra"]
    for split, items in (("train", dataset.train_x), ("val", dataset.val), ("test", dataset.test)):
        assert [(i.impath, i.label) for i in items] == [
            (f"{tmp_path}/image_folder/{split}/{name}/{i}.{suffix}", label)
            for name, label in LABELS.items()
            for i, suffix in enumerate(("png", "JPG", "webp"))
        ]


def test_few_shot_samples_and_halves(tmp_path):
    tree(tmp_path / "birds")
    pairs = ["DATASET.IMAGE_FOLDER", "birds", "DATASET.NUM_SHOTS", 1, "SEED", 1]
    dataset = load(tmp_path, *pairs, "DATASET.SUBSAMPLE_CLASSES", "new")
    assert dataset.classnames == ["zebra"]
    assert len(dataset.train_x) == len(dataset.val) == 1
    assert len(dataset.test) == 3
    record = tmp_path / "birds" / "split_fewshot" / "shot_1-seed_1.json"
    assert not record.exists()
    dataset.keep_sample()
    assert record.is_file()


def test_without_val(tmp_path):
    tree(tmp_path / "image_folder", splits=("train", "test"))
    assert load(tmp_path).val is None
    assert load(tmp_path, "DATASET.SUBSAMPLE_CLASSES", "base", "DATASET.NUM_SHOTS", 2).val is None
    for pair in (("TEST.FINAL_MODEL", "best_val"), ("TEST.SPLIT", "val")):
        with pytest.raises(ValueError, match="image_folder has no val folder"):
            load(tmp_path, *pair)


def test_what_is_passed_over(tmp_path, capsys):
    folder = tmp_path / "image_folder"
    tree(folder, n=1)
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / "list.txt").write_text("")
    (folder / "train" / "Ant" / ".0.png").write_text("")
    (folder / "train" / "Ant" / "Thumbs.db").write_text("")
    (folder / "train" / "Ant" / "more").mkdir()
    (folder / "test" / "zebra" / "a.heic").write_text("")
    (folder / "test" / "zebra" / "a").write_text("")
    (folder / "valid").mkdir()
    (folder / ".DS_Store").write_text("")
    assert len(load(tmp_path, "DATASET.NUM_SHOTS", 1, "SEED", 1).train_x) == 3
    for _ in range(2):  # the record of the sample, there the second time, is not one of them
        warnings = [line for line in capsys.readouterr().out.splitlines() if "Warning" in line]
        assert warnings == [
            f"Warning: passed over in {folder}: 6 files or folders (test/zebra/a, test/zebra/a.heic, "
            "train/Ant/Thumbs.db, train/Ant/more, train/list.txt, ...); only train|val|test/<class name>/<image> is "
            "read, an image being one of .bmp .gif .jfif .jpeg .jpg .pgm .png .ppm .tif .tiff .webp"
        ]
        load(tmp_path)


def test_accents_in_two_forms(tmp_path):
    folder = tmp_path / "image_folder"
    tree(folder)
    for split, name in (("train", "caf\u00e9"), ("val", "caf\u00e9"), ("test", "cafe\u0301")):
        (folder / split / "zebra").rename(folder / split / name)
    with pytest.raises(ValueError, match="the names look the same, but write accents in two Unicode forms"):
        load(tmp_path)


def test_domains(tmp_path):
    for i, domain in enumerate(("photo", "sketch", "clip art")):
        tree(tmp_path / "image_folder" / domain, n=i + 1)
    pairs = ["DATASET.SOURCE_DOMAINS", ["photo", "sketch"], "DATASET.NUM_SHOTS", 1, "SEED", 1]

    dataset = load(tmp_path, *pairs, "DATASET.TARGET_DOMAINS", ["clip art", "photo"])
    assert dataset.domains == ["photo", "sketch", "clip art"]
    assert len(dataset.train_x) == 3  # one per class, from either domain, as Dassl draws it
    assert {i.domain for i in dataset.train_x + dataset.val} <= {0, 1}
    assert [i.domain for i in dataset.test] == [2] * 9 + [0] * 3
    assert all(f"/{dataset.domains[i.domain]}/" in i.impath for i in dataset.train_x + dataset.val + dataset.test)
    dataset.keep_sample()
    assert (tmp_path / "image_folder/split_fewshot/photo+sketch/shot_1-seed_1.json").is_file()

    assert {i.domain for i in load(tmp_path, *pairs).test} == {0, 1}
    with pytest.raises(FileNotFoundError, match="paint/test does not exist"):
        load(tmp_path, *pairs, "DATASET.TARGET_DOMAINS", ["paint"])
    with pytest.raises(ValueError, match="without source domains"):
        load(tmp_path, "DATASET.TARGET_DOMAINS", ["photo"])


def test_splits_must_have_the_same_classes(tmp_path):
    folder = tmp_path / "image_folder"
    tree(folder)
    (folder / "test" / "zebra").rename(folder / "test" / "horse")
    with pytest.raises(ValueError) as error:
        load(tmp_path)
    assert f"only {folder}/train has zebra; only {folder}/test has horse" in str(error.value)


def test_a_class_without_images(tmp_path):
    folder = tmp_path / "image_folder"
    tree(folder)
    for image in (folder / "val" / "Ant").iterdir():
        image.unlink()
    with pytest.raises(ValueError, match=f"{folder}/val/Ant holds no image"):
        load(tmp_path)


def test_missing_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image_folder/train does not exist: lay the images out as"):
        load(tmp_path)
    (tmp_path / "image_folder" / "train").mkdir(parents=True)
    with pytest.raises(ValueError, match="image_folder/train holds no class folder"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="data root .* does not exist"):
        load(tmp_path / "none")


def split_file(root, *pairs, test=("Ant", "green_tree", "zebra")):
    """A split file of `tree`'s images in root/pictures, read by those pairs."""
    tree(root / "pictures", splits=("train", "test"))

    def part(name, classes):
        return [[f"{name}/{c}/{i}.{e}", LABELS[c], c] for c in classes for i, e in enumerate(("png", "JPG", "webp"))]

    split = {"train": part("train", sorted(CLASSES)), "val": [], "test": part("test", test)}
    (root / "split_zhou_Own.json").write_text(json.dumps(split))
    return ["DATASET.IMAGE_FOLDER", "pictures", "DATASET.SPLIT_FILE", "split_zhou_Own.json", *pairs]


def test_a_split_file(tmp_path):
    pairs = split_file(tmp_path, "DATASET.NUM_SHOTS", 2, "SEED", 1)
    base, new = (load(tmp_path, *pairs, "DATASET.SUBSAMPLE_CLASSES", half) for half in ("base", "new"))
    assert (base.classnames, new.classnames) == (["Ant", "green_tree"], ["zebra"])
    assert len(base.train_x) == 4 and len(base.test) == 6 and base.val is None
    assert base.test[0].impath == f"{tmp_path}/pictures/test/Ant/0.png"
    base.keep_sample()
    sample = json.loads((tmp_path / "split_fewshot/shot_2-seed_1.json").read_text())
    assert sample["train"][0][0].startswith("pictures/train/Ant/")
    with pytest.raises(ValueError, match="split_zhou_Own.json has no image in val, which TEST.FINAL_MODEL best_val"):
        load(tmp_path, *pairs, "TEST.FINAL_MODEL", "best_val")
    with pytest.raises(ValueError, match="Domains are given, but the split file .* has none"):
        load(tmp_path, *pairs, "DATASET.SOURCE_DOMAINS", ["ink"])


def test_a_split_file_without_test_images(tmp_path):
    with pytest.raises(ValueError, match="split_zhou_Own.json has no image in test: add some"):
        load(tmp_path, *split_file(tmp_path, test=()))


@pytest.mark.parametrize("kind", ["split file", "tree"])
def test_class_names_in_a_file(tmp_path, kind, capsys):
    pairs = split_file(tmp_path) if kind == "split file" else ["DATASET.IMAGE_FOLDER", "pictures"]
    if kind == "tree":
        tree(tmp_path / "pictures", splits=("train", "test"))
    names = tmp_path / "pictures/names.txt"
    pairs += ["DATASET.CLASS_NAMES", "pictures/names.txt"]
    names.write_text("zebra\tplains zebra\nAnt black ant\n\ngreen_tree tree\nbee honey bee\n")
    (tmp_path / "pictures/dataset.yaml").write_text("")
    (tmp_path / "pictures/feature_store").mkdir()
    dataset = load(tmp_path, *pairs)
    assert dataset.classnames == ["black ant", "tree", "plains zebra"] and "Warning" not in capsys.readouterr().out
    for text, said in (
        ("zebra a\nAnt b\n", "names.txt has no line for green_tree: add it"),
        ("zebra a\nAnt\n", "names.txt, line 2, has no class name behind that of the class"),
        ("zebra a\nzebra b\n", "names.txt, line 2, names zebra again"),
        ("zebra a\nAnt a\ngreen_tree c\n", 'names.txt the data set has two labels for the class "a"'),
    ):
        names.write_text(text)
        with pytest.raises(ValueError, match=said):
            load(tmp_path, *pairs)


def test_a_domain_shift_is_its_test_images(tmp_path):
    tree(tmp_path / "image_folder", splits=("test",))
    pairs = ("DATASET.NAME", "ImageFolderShift", "DATASET.NUM_SHOTS", 1, "SEED", 1)
    dataset = load(tmp_path, *pairs, kind=ImageFolderShift)
    assert dataset.train_x is dataset.test and len(dataset.test) == 9
    with pytest.raises(ValueError, match="a domain shift, is tested on all of its classes"):
        load(tmp_path, *pairs, "DATASET.SUBSAMPLE_CLASSES", "new", kind=ImageFolderShift)
    pairs = split_file(tmp_path, *pairs)
    assert len(load(tmp_path, *pairs, kind=ImageFolderShift).train_x) == 9
