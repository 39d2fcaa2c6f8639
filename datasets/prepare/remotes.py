"""The two places that a data set can come from: the archive on the mirror, and the files that its steps name."""

import re
from typing import NamedTuple, Optional

from dassl.utils import UserError

from ..sources import mirror
from .fetch import one_line
from .unpack import ARCHIVES

DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"


class Remote(NamedTuple):
    """A file to fetch: what to call it here, its address, and what is known of it."""

    name: str
    url: str
    checksum: Optional[str] = None  # hexadecimal; MD5 or SHA-256, told apart by their length
    size: Optional[int] = None  # bytes


def on_mirror(folder):
    """The mirror's archive of the data set that lies in `folder`, found in the mirror's own list of files.

    Names are compared by letters and digits: food101.zip is that of food-101. Raises OSError if the hub cannot be
    asked, ValueError if it has no such archive.
    """
    from huggingface_hub import HfApi, hf_hub_url  # here, since nothing else needs it

    repository = mirror()
    try:
        files = [entry for entry in HfApi().list_repo_tree(repository) if hasattr(entry, "size")]
    except Exception as e:  # network errors are those of another library from version to version
        raise OSError(f"the hub's list of {repository} cannot be read ({one_line(e)})") from None
    for file in files:
        stem = next((file.path[: -len(end)] for end in ARCHIVES if file.path.endswith(end)), "")
        if plain(stem) == plain(folder):
            # not hf_hub_download: in huggingface_hub 2.4 an interrupted one starts over
            return Remote(file.path, hf_hub_url(repository, file.path), file.lfs and file.lfs.sha256, file.size)
    names = ", ".join(file.path for file in files)
    raise UserError(f"{repository} on the hub has no archive for {folder} (it has {names or 'no files'})")


def of_step(step):
    """The file that a step of DATASETS.md fetches; None if that takes a browser or another data set."""
    if not step.file:
        return None
    drive = re.match(r"https://drive\.google\.com/file/d/([^/]+)/", step.url)
    return Remote(step.file, DRIVE.format(drive[1]) if drive else step.url, step.md5)


def plain(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())
