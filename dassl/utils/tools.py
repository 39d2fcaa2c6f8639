"""Files, seeds and names."""

import difflib
import json
import os
import os.path as osp
import platform
import random
import warnings

import numpy as np
import PIL
import torch
from PIL import Image

from dassl.utils.errors import MissingFile, UserError
from dassl.utils.files import write_whole


def mkdir_if_missing(dirname):
    """Create the folder `dirname` and its parents; an empty name is the current folder."""
    if dirname:
        os.makedirs(dirname, exist_ok=True)


def check_isfile(fpath):
    """Tell whether `fpath` is a file; warn if not."""
    isfile = osp.isfile(fpath)
    if not isfile:
        warnings.warn(f'No file found at "{fpath}"', stacklevel=2)
    return isfile


def write_json(obj, fpath):
    """Write `obj` as indented JSON, making the folder if need be. Raises ValueError if it cannot be written."""
    write_whole(fpath, lambda file: json.dump(obj, file, indent=4, separators=(",", ": ")))


def set_random_seed(seed):
    """Seed Python's, NumPy's and PyTorch's (CPU and GPU) global random generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


SCALED = 'Warning: pictures such as "{}" ({}) are scaled to 8 bits by their own depth'  # to be said once: path, depth


def read_image(path):
    """Return the image at `path` as `to_rgb` gives it: of an animation the first picture, turned as it is stored.

    Raises FileNotFoundError if there is none, ValueError if it cannot be decoded; both name the path.
    """
    try:
        with Image.open(path) as image:
            image.load()
            image.info.pop("transparency", None)  # unused, but Pillow would warn of it in each picture with a palette
            return to_rgb(image)
    except FileNotFoundError:
        raise MissingFile(f'image "{path}" does not exist: check its path') from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged file raises anything, depending on its format and on where the damage is
        raise UserError(f'image "{path}" cannot be decoded ({error}): replace the file or take it out') from None


def to_rgb(image):
    """Return a PIL image as a new one, RGB of 8 bits per channel.

    Of deeper grey ones, which Pillow would cut off at 255, black is 0 and white the highest number that the file's
    depth can hold, such as 65,535, or 1.0 if they are floats; `info["scaled_from"]` of the result then says what
    they were (see `SCALED`). Transparency is left out. Raises ValueError for numbers of no such depth.
    """
    depth, scaled = _in_8_bits(image)
    scaled = scaled.convert("RGB")
    scaled.info.pop("scaled_from", None)  # a comment in the file could be called so
    if depth:
        scaled.info["scaled_from"] = depth
    return scaled


def _in_8_bits(image):
    """(what it was, the image of 8 bits) for one of more; ("", the image itself) otherwise. Raises ValueError."""
    if image.mode == "F":
        pixels = np.asarray(image, dtype=np.float64)
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # a NaN is neither
            raise UserError(f"its floats are from {pixels.min():g} to {pixels.max():g}, and must be from 0 to 1")
        return "floats", Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    if image.mode == "I" or image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})  # of TIFF; the "I" of other formats has 16 bits
        bits, signed = tags.get(258, (16,))[0], tags.get(339, (1,))[0] == 2
        if bits > 16 or signed:
            raise UserError(f"it has {'signed ' * signed}whole numbers of {bits} bits, and only 16 can be read")
        pixels = np.asarray(image, dtype=np.float64)
        return f"{bits} bits", Image.fromarray(np.rint(pixels * 255 / (2**bits - 1)).astype(np.uint8))
    return "", image


def _said_of_threads():
    """What the environment says to OpenMP's runtimes."""
    return [f"{key}={value}" for key, value in sorted(os.environ.items()) if key.startswith(("OMP_", "GOMP_", "KMP_"))]


def collect_env_info():
    """Return versions and devices, one per line: what is needed to tell why a number differs."""
    import torchvision  # here, so that code that only needs files and seeds does not wait for it

    lines = [
        f"Python: {platform.python_version()} ({platform.platform()})",
        f"PyTorch: {torch.__version__}, torchvision: {torchvision.__version__}",
        f"NumPy: {np.__version__}, Pillow: {PIL.__version__}",
        ", ".join([f"CPU threads: {torch.get_num_threads()}", *_said_of_threads()]),
        f"CUDA: {torch.version.cuda}, cuDNN: {torch.backends.cudnn.version()}",
    ]
    lines += [f"GPU {i}: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return "\n".join(lines)


def listdir_nohidden(path, sort=False):
    """Return the names in the folder `path` that do not start with a dot; in no set order unless `sort`."""
    items = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(items) if sort else items


def check_availability(requested, available, kind="name"):
    """Raise ValueError, naming the nearest and all of `available`, unless `requested` is one of them.

    `kind` says what it is the name of ("trainer").
    """
    if requested in available:
        return
    # case must not hide a neighbour: "coop" means "CoOp"
    by_lower = {name.lower(): name for name in available}
    near = [by_lower[low] for low in difflib.get_close_matches(requested.lower(), by_lower, n=3, cutoff=0.5)]
    hint = f": did you mean {' or '.join(near)}? Known" if near else "; known"
    raise UserError(f'unknown {kind} "{requested}"{hint}: {", ".join(sorted(available)) or "none"}')


def tolist_if_not(x):
    return x if isinstance(x, list) else [x]
