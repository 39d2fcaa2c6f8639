"""Helpers shared by the whole runtime."""

from dassl.utils.errors import MissingFile, NotFinite, UserError
from dassl.utils.files import write_whole
from dassl.utils.logger import Logger, setup_logger
from dassl.utils.meters import AverageMeter, MetricMeter
from dassl.utils.progress import progress
from dassl.utils.registry import Registry, import_all
from dassl.utils.tools import (
    SCALED,
    check_availability,
    check_isfile,
    collect_env_info,
    get_most_similar_str_to_a_from_b,
    listdir_nohidden,
    mkdir_if_missing,
    read_image,
    read_json,
    set_random_seed,
    to_rgb,
    tolist_if_not,
    write_json,
)
from dassl.utils.torchtools import (
    count_num_param,
    load_checkpoint,
    load_pretrained_weights,
    open_all_layers,
    open_specified_layers,
    resume_from_checkpoint,
    save_checkpoint,
)

__all__ = [
    "SCALED",
    "AverageMeter",
    "Logger",
    "MetricMeter",
    "MissingFile",
    "NotFinite",
    "Registry",
    "UserError",
    "check_availability",
    "check_isfile",
    "collect_env_info",
    "count_num_param",
    "get_most_similar_str_to_a_from_b",
    "import_all",
    "listdir_nohidden",
    "load_checkpoint",
    "load_pretrained_weights",
    "mkdir_if_missing",
    "open_all_layers",
    "open_specified_layers",
    "progress",
    "read_image",
    "read_json",
    "resume_from_checkpoint",
    "save_checkpoint",
    "set_random_seed",
    "setup_logger",
    "to_rgb",
    "tolist_if_not",
    "write_json",
    "write_whole",
]
