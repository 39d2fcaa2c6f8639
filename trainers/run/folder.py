"""The folder of a run becomes the model that was trained there: for inference/, tools/, and PromptKD's teacher.

What makes a folder one of a run: config.yaml, or, as a fork's runs have none, the settings in metrics.json.
"""

import contextlib
import io
import os
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY

from .. import keys
from ..backbone.clip_loader import frozen_clip
from ..errors import MissingFile, UserError
from ..files.edited_files import read_yaml
from ..precision import Precision
from ..prompting.model import PromptedCLIP
from . import experiment, metrics_file
from .loader import PromptLoader


class RunFolder:
    """What a run has left in `folder`: `cfg` its config, `record` its metrics.json, empty if there is none.

    Raises UserError (MissingFile) for a folder that is no run's.
    """

    def __init__(self, folder: str):
        self.folder, self.record = folder, _record(folder)
        self.cfg = _config(folder, self.record.get("settings", {}))

    def model(
        self, classnames: Sequence[str], device: torch.device, prec: Optional[str] = None
    ) -> Tuple[PromptedCLIP, Precision]:
        """Its model of the last epoch (or the best, if it keeps that one), for these classes.

        prec: as TRAINER.<method>.PREC; by default the run's.

        Raises UserError for classes that the prompts do not fit, and for a trainer that is not there.
        """
        cfg, name = self.cfg, self.cfg.TRAINER.NAME
        trainer = TRAINER_REGISTRY.get(name) if name in TRAINER_REGISTRY.registered_names() else None
        if not hasattr(trainer, "custom_clip"):  # one that is no `PromptTrainer`
            raise UserError(
                f'"{self.folder}" is a run of trainer {name}, whose prompts cannot be loaded: it is not one of the '
                f"methods of this project that are installed here."
            )
        with contextlib.redirect_stdout(io.StringIO()):
            precision = Precision(prec or cfg.TRAINER[trainer.config_node].PREC, device)
            clip_model, backbone = frozen_clip(cfg, precision, device)
            if self.record.get("backbone_weights", backbone["weights"]) != backbone["weights"]:
                raise UserError(
                    f"{self.folder} is a run on other weights than {backbone['name']} has now: put those back, or run "
                    "it anew."
                )
            model = trainer.custom_clip(cfg, list(classnames), clip_model).to(device)
            settings = experiment.settings_of(cfg, [trainer.config_node])
            tested = self.record.get("model_dir")
            # A test of an epoch on the way (LOADEP) leads to that one
            epoch = self.record.get("epoch") if tested and not self.record.get("final_model", True) else None
            PromptLoader(model, settings, backbone).load(tested or self.folder, epoch)
        return model.eval().requires_grad_(False), precision


def _config(folder, settings):
    path = os.path.join(folder, "config.yaml")
    if not os.path.lexists(path) and not settings:
        raise MissingFile(f'"{folder}" is no folder of a run, as it has no config.yaml: train one first.')
    cfg = get_cfg_default()
    cfg.set_new_allowed(True)  # keys of data sets, which are not needed
    try:
        if os.path.lexists(path):
            cfg.MODEL.BACKBONE.ACTIVATION = "quickgelu"  # the only one, of runs from before there was the key
            cfg.merge_from_other_cfg(CfgNode(read_yaml(path) or {}))
        else:
            path = os.path.join(folder, metrics_file.NAME)
            cfg.merge_from_other_cfg(CfgNode(_tree(settings)))
        cfg.merge_from_list([part for key in keys.TRAINING_FILES for part in (key, "")])
        keys.check(cfg)
    except UserError:
        raise
    except Exception as error:  # whatever yacs and YAML make of a damaged file
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UserError(f'"{path}" is no config of a run ({reason:.300}): train again.') from None
    return cfg


def _tree(settings) -> Dict[str, Any]:
    """Dotted keys as nested dictionaries."""
    tree: Dict[str, Any] = {}
    for key, value in settings.items():
        *sections, leaf = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = value
    return tree


def _record(folder):
    try:
        return metrics_file.read_metrics(folder)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f'"{folder}/{metrics_file.NAME}" cannot be read ({reason}): run the test again.') from None
