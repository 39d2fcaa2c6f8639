from pretraining.data import Vocabulary


def test_the_vocabulary_holds_the_templates():
    vocabulary = Vocabulary()
    rows, ends = vocabulary.batch(["a picture of a red circle.", "circle"])
    assert rows.shape == (2, 9) and ends.tolist() == [8, 2]
    assert vocabulary.rows == sorted(vocabulary.rows) and vocabulary.rows[rows[0, 8]] == 49407
