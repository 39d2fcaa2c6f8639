"""Helpers shared by the whole runtime."""

# ruff: noqa: F401  these names are imported from here
from dassl.utils.errors import MissingFile, NotFinite, UserError
from dassl.utils.files import write_whole
from dassl.utils.logger import Logger, setup_logger
from dassl.utils.meters import AverageMeter, MetricMeter
from dassl.utils.progress import progress
from dassl.utils.registry import Registry, import_all
from dassl.utils.text_files import read_json, read_lines, read_text
from dassl.utils.tools import (
    SCALED,
    check_availability,
    check_isfile,
    collect_env_info,
    listdir_nohidden,
    mkdir_if_missing,
    read_image,
    set_random_seed,
    to_rgb,
    tolist_if_not,
    write_json,
)
from dassl.utils.torchtools import (
    load_checkpoint,
    load_pretrained_weights,
    resume_from_checkpoint,
    save_checkpoint,
)
