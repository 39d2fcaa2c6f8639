"""Files that belong to a data set, also where it is read-only."""

import os


def keep(write, name, dataset_dir, output_dir, what):
    """Call write(path) for `name` in the data set's folder or, if that fails (read-only), below the output folder.

    `write` writes with `dassl.utils.write_whole`, whose ValueError says that it failed.
    """
    path = os.path.join(dataset_dir, name)
    try:
        return write(path)
    except ValueError as e:
        if not isinstance(e.__cause__, OSError):
            raise
        reason = e.__cause__.strerror or e.__cause__
    fallback = os.path.join(output_dir, name)
    print(f"Cannot write {path} ({reason}); keeping {what} in {fallback}")
    write(fallback)
