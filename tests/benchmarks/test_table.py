from benchmarks.table import Table

TABLE = Table("Speed", [("", ""), ("ms", ".1f"), ("limit", ".0f"), ("kept", "")], [["slow", 1.26, 1.0, "NO"]])


def test_text_has_the_digits_that_the_columns_ask_for():
    title, empty, header, _, row = TABLE.text().splitlines()
    assert (title, empty) == ("Speed", "") and header.split() == "| | ms | limit | kept |".split()
    assert row.split() == "| slow | 1.3 | 1 | NO |".split()
