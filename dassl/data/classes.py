"""What a data set's labels and class names must be, whatever loader made them."""

import functools
import warnings
from collections import defaultdict
from numbers import Integral

from dassl.utils.errors import UserError

SHOWN = 3  # of a list of names


def check_classes(parts, source, shared_names=False):
    """Raise ValueError, one sentence, unless labels and class names say without doubt which class an image is of.

    Labels are whole numbers, those of the first part 0 to n - 1, and the other parts have no others. Every label has
    one name, a text, in all parts.

    Args:
        parts: {"train": images, "val": images or None, ...}; images have `label`, `classname` and `impath`. The first
            defines the classes.
        source: what to name in the error, "The split file x.json" or a data set's name.
        shared_names: whether two labels may have the same name.
    """
    named = {}  # label: (class name, where it was first seen)
    labels_of = {}
    for part, images in parts.items():
        labels_of[part] = {}
        for number, image in enumerate(images or (), start=1):
            label, name = image.label, image.classname
            if label.__class__ is not int and (not isinstance(label, Integral) or isinstance(label, bool)):
                raise UserError(
                    f"{_place(source, part, number, image)}, has the label {label!r}: number the classes 0, 1, 2, ... "
                    "with whole numbers."
                )
            if label in labels_of[part] and named[label][0] == name:
                continue
            if not _is_text(name):
                raise UserError(
                    f"{_place(source, part, number, image)}, has the class name {name!r}: give every class a name in "
                    "words, as text."
                )
            if label in named and named[label][0] != name:
                raise UserError(
                    f'{_place(source, part, number, image)}, names label {label} "{name}", which {named[label][1]} '
                    f'names "{named[label][0]}": give each label one name.'
                )
            labels_of[part][label] = number, image
            named.setdefault(label, (name, f"entry {number} of {part}"))
    _check_numbers(labels_of, named, source)
    if not shared_names:
        _check_names(named, source)


def _is_text(name):
    try:
        return isinstance(name, str) and bool(name.strip()) and bool(name.encode("utf-8"))
    except UnicodeEncodeError:  # a folder's name whose bytes are not UTF-8
        return False


def _place(source, part, number, image):
    return f'{source}, entry {number} of {part} ("{image.impath}")'


def _check_numbers(labels_of, named, source):
    (first, labels), *others = labels_of.items()
    for part, found in others:
        for label, (number, image) in found.items():
            if label not in labels:
                raise UserError(
                    f'{_place(source, part, number, image)}, is of class "{named[label][0]}" (label {label}), of which '
                    f"{first} has no image: add some to {first}, or remove the class from {part}."
                )
    wrong = sorted(labels.keys() - set(range(len(labels))))
    if wrong:
        number, image = labels[wrong[0]]
        raise UserError(
            f"{_place(source, first, number, image)}, has the label {wrong[0]}, but {len(labels)} classes have labels "
            f"0 to {len(labels) - 1}: number them from 0 without a gap."
        )


def _check_names(named, source):
    labels = {}
    for label, (name, place) in named.items():
        if name in labels:
            raise UserError(
                f'{source} has two labels for the class "{name}", {labels[name][0]} in {labels[name][1]} and {label} '
                f"in {place}: give every class one label, and every label a name of its own."
            )
        labels[name] = label, place


@functools.cache
def clip_tokens(name):
    """What CLIP reads of a class name in a prompt, its underscores as spaces: a tuple of token ids.

    Its tokenizer mends quotation marks, ligatures, wide letters, HTML and the Unicode form of accents, ignores case and
    runs of white space, and whatever stands behind an end of text is not read.
    """
    with warnings.catch_warnings():  # clip imports pkg_resources, whose deprecation no user can act on
        warnings.simplefilter("ignore")
        from clip.clip import _tokenizer  # here: most of what is done with data sets asks for no tokens

    tokens, end = _tokenizer.encode(f"a photo of a {name.replace('_', ' ')}."), _tokenizer.encoder["<|endoftext|>"]
    return tuple(tokens[: tokens.index(end)] if end in tokens else tokens)


def same_to_clip(classnames):
    """Lists of class names that give CLIP the same prompt."""
    groups = defaultdict(list)
    for name in classnames:
        groups[clip_tokens(name)].append(name)
    return [names for names in groups.values() if len(names) > 1]


def same_names(classnames):
    """The classes that CLIP cannot tell apart by their names, as '"a" and "A", "b" and "B"'; "" if there are none."""
    same = same_to_clip(classnames)
    shown = ", ".join(" and ".join(f'"{name}"' for name in names) for names in same[:SHOWN])
    more = f" and {len(same) - SHOWN} more" if len(same) > SHOWN else ""
    return shown + more


def warn_of_same_names(classnames, source, file=None):
    """Print a warning that names the classes which CLIP cannot tell apart by their names."""
    same = same_names(classnames)
    if same:
        print(f"Warning: {source} has classes that CLIP reads alike, so that they have one prompt: {same}", file=file)


def warn_of_leaks(train, test, source):
    """Print a warning if images that are trained on are also tested on; not if both are one list, on purpose."""
    if train is test or not test:
        return
    tested = {image.impath for image in test}
    both = list(dict.fromkeys(image.impath for image in train if image.impath in tested))
    if both:
        print(
            f'Warning: {source} has {len(both):,} of its training images among the test images, such as "{both[0]}": '
            "the accuracy counts images that were trained on."
        )
