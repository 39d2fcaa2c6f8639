"""Text as people save it, by the reader of data sets and by that of trainers."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dassl.utils import MissingFile, UserError, read_json, read_lines, read_text
from harness import edited
from trainers.files import edited_files

BOM = b"\xef\xbb\xbf"
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)
PLAIN = WORDS.filter(lambda word: not word.startswith("\ufeff"))


@given(st.lists(PLAIN, max_size=5), st.data())
def test_lines_are_what_they_say(tmp_path_factory, words, data):
    path = tmp_path_factory.mktemp("text") / "list.txt"
    content = data.draw(st.sampled_from([b"", BOM]))
    for word in words:
        before, after = data.draw(st.sampled_from(["", " ", "\t"])), data.draw(st.sampled_from(["", " ", "\t", "\xa0"]))
        content += (before + word + after + data.draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))).encode()
    path.write_bytes(content)
    assert [word for _, word in read_lines(path)] == words


def test_a_mark_in_front_of_a_later_line(tmp_path):
    """Of two files that were put together."""
    (tmp_path / "list.txt").write_bytes(BOM + b"a\n" + BOM + b"b\n")
    assert read_lines(tmp_path / "list.txt") == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("reader", [read_json, edited_files.read_json])
@given(st.dictionaries(WORDS, st.lists(WORDS, max_size=2), max_size=3), st.sampled_from([b"", BOM]))
def test_json_is_what_it_says(tmp_path_factory, reader, value, mark):
    path = tmp_path_factory.mktemp("text") / "file.json"
    path.write_bytes(mark + json.dumps(value, ensure_ascii=False, indent=1).replace("\n", "\r\n").encode())
    assert reader(path) == value


@pytest.mark.parametrize("reader", [read_json, edited_files.read_json])
@pytest.mark.parametrize(
    "content, said",
    [
        (b"{}\r\n}", "line 2"),
        (b'{\n"caf\xe9": 1}', "line 2.* is no UTF-8 .byte 0xe9"),
        ('{"a": 1}'.encode("utf-16"), "line 1.* is no UTF-8"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', '"c" is there twice'),
        (b"[" * 200_000, "recursion|nested"),
        (b"", "Expecting value"),
    ],
)
def test_what_is_no_json(tmp_path, reader, content, said):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        reader(tmp_path / "file.json")


@given(st.binary(max_size=20) | st.text(max_size=10).map(str.encode), st.sampled_from([b"", BOM]))
def test_each_house_reads_the_same(tmp_path_factory, content, mark):
    """Or refuses it, naming the same line: harness/ imports neither of the others, and trainers/ goes into forks."""
    path = tmp_path_factory.mktemp("text") / "file"
    path.write_bytes(mark + content.replace(BOM, b""))
    said = []
    for reader in (read_text, edited.read_text, edited_files.read_text):
        try:
            said.append(re.sub("\r\n?", "\n", reader(path)))
        except ValueError as error:
            said.append(re.search(r"line \d+.* is no UTF-8 \(byte 0x..\)", str(error))[0].replace(", ", " "))
    assert said[0] == said[1] == said[2]


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(MissingFile, match="none.txt does not exist"):
        read_lines(tmp_path / "none.txt")
    for path in (tmp_path, "a\0b"):
        with pytest.raises(UserError, match="cannot be read"):
            read_lines(path)
