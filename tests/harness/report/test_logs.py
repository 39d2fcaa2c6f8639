import pytest

from harness.report.logs import TESTED, TRAINED, value_in_log


def block(split, accuracy):
    return f"Evaluate on the *{split}* set\n=> result\n* accuracy: {accuracy}%\n"


@pytest.mark.parametrize(
    ("log", "trained", "tested"),
    [
        ("Finish training\n" + block("test", 70.0), 70.0, 70.0),
        (block("val", 90.0) + "Finish training\n", None, None),  # the final test crashed
        (block("val", 90.0) + "Finish training\n" + block("test", 70.0), 70.0, 70.0),
        ("Finish training\n" + block("val", 90.0), None, None),
        ("Finish training\n" + block("train", 90.0), None, None),
        ("Finish training\n" + block("", 90.0), None, None),
        ("Finished training\n=> result\n* accuracy: 70.0%\n", 70.0, 70.0),  # a fork that does not say
        ("Finish training\n" + block("test", 70.0) + block("val", 90.0), 70.0, 70.0),
    ],
)
def test_a_line_counts_for_what_it_says_it_evaluated(log, trained, tested):
    for signals, expected in ((TRAINED, trained), (TESTED, tested)):
        assert value_in_log(log.splitlines(), "accuracy", signals) == expected
