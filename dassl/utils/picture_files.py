"""Which files of a folder are pictures: one rule for data sets and for what is predicted."""

import os

from dassl.utils.errors import UserError

# What Pillow reads without another package. Upper case counts, and hidden names are passed over.
ENDINGS = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SHOWN = 5  # of what is passed over


def is_picture_name(name):
    return not name.startswith(".") and name.lower().endswith(ENDINGS)


def scan(folder):
    """(pictures, folders, others): paths in a folder, each in the order of names; links count as what they lead to.

    A broken link is a picture if it is called so: reading it says that it is broken. Raises UserError for a folder that
    cannot be read.
    """
    pictures, folders, others = [], [], []
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.path)
                elif is_picture_name(entry.name) and (entry.is_file() or not os.path.exists(entry.path)):
                    pictures.append(entry.path)
                else:
                    others.append(entry.path)
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): make it readable, or leave it out.") from None
    return pictures, folders, others


def pictures_below(folder, passed_over, above=()):
    """Paths of all pictures below a folder, its own first; others are added to the list `passed_over`.

    Links to folders are followed, but for one that leads to a folder that it lies in.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    pictures, folders, others = scan(folder)
    passed_over += others
    yield from pictures
    for each in folders:
        yield from pictures_below(each, passed_over, (*above, real))


def say_passed_over(where, paths, rule, file=None):
    """Print one line that counts what was passed over in the folder `where`, if there is anything."""
    if paths:
        names = sorted(os.path.relpath(path, where) for path in paths)
        some = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        found = f"{len(names):,} files or folders ({some})"
        print(f"Warning: passed over in {where}: {found}; {rule} {' '.join(ENDINGS)}", file=file)
