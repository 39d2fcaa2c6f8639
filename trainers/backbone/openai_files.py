"""OpenAI's weights: where they are kept, whether a file is one of them, and how one is got."""

import http.client
import os

from ..errors import MissingFile, UserError
from ..files.known_content import sha256

CACHE = os.path.join("~", ".cache", "clip")  # of OpenAI's package


def digest_of(url: str) -> str:
    """The SHA-256 of one of OpenAI's files, 64 hexadecimal digits: its address has it."""
    return url.split("/")[-2]


def place_of(url: str) -> str:
    """The path at which one of OpenAI's files is looked for."""
    return os.path.join(os.path.expanduser(CACHE), url.split("/")[-1])


def get(name: str, url: str) -> str:
    """The path of one of OpenAI's files, which is downloaded unless it is there and whole.

    Raises UserError (MissingFile), which says how to get it by hand.
    """
    import clip  # here: clip_loader.py has imported it, without its warning

    path, digest, cache = place_of(url), digest_of(url), os.path.expanduser(CACHE)
    by_hand = f"fetch {url} (SHA-256 {digest}) by hand and pass its path as MODEL.BACKBONE.NAME."
    try:
        if os.path.isfile(path) and sha256(path) == digest:
            return path
    except OSError as error:
        raise UserError(f'Weights of {name} at "{path}" cannot be read ({error.strerror}): {by_hand}') from error
    try:
        return clip.clip._download(url, cache)
    except (OSError, RuntimeError, TypeError, http.client.HTTPException) as error:  # TypeError: a server without sizes
        raise MissingFile(
            f"Weights of {name} are not in {cache} and cannot be downloaded ({error}): {by_hand}"
        ) from error
