"""Writing files of data sets whole, also where a data set is read-only."""

import os
import tempfile


def write_whole(path, save, mode="w"):
    """Call save(file) on a temporary file and rename it to `path`: others see the old file or the whole new one."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path), suffix=".tmp")
    try:
        with os.fdopen(fd, mode, encoding=None if "b" in mode else "utf-8") as file:
            save(file)
        os.chmod(temporary, 0o644)  # mkstemp makes it private; others share the data set
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def keep(write, name, dataset_dir, output_dir, what):
    """Call write(path) for `name` in the data set's folder or, if that fails (read-only), below the output folder."""
    path = os.path.join(dataset_dir, name)
    try:
        write(path)
    except OSError as e:
        fallback = os.path.join(output_dir, name)
        print(f"Cannot write {path} ({e.strerror or e}); keeping {what} in {fallback}")
        write(fallback)
