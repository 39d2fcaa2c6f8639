"""Scripts for a fork: plain bash as CoOp's own, one for each step of a protocol, which call the fork's train.py."""

from ..catalogue import Method
from ..layout import Place
from ..running.protocols import SHOTS, STEPS, Step

_HEAD = """\
#!/bin/bash
# {purpose}
# Usage: bash scripts/{folder}/{script}.sh {arguments} [KEY VALUE ...]

cd "$(dirname "${{BASH_SOURCE[0]}}")/../.." || exit 1
if [ $# -lt {n} ]; then
    echo "Usage: bash scripts/{folder}/{script}.sh {arguments} [KEY VALUE ...]"
    exit 2
fi

# custom config; each may also be set in the environment
PYTHON=${{PYTHON:-python}}  # the interpreter
DATA=${{DATA:-data}}  # root of the data sets; a relative path counts from the fork's folder
"""
_DONE = """\
if [ -f "${DIR}/metrics.json" ]; then
    echo "The results exist at ${DIR} (so skip this job)"
    exit
fi
"""
_UNTRAINED = """\
if [ ! -d "${{MODEL_DIR}}" ]; then
    echo "No model at ${{MODEL_DIR}}: first run bash scripts/{folder}/{needs}.sh {trained_on} ${{SEED}}"
    exit 1
fi
"""
_RUN = """\
"${{PYTHON}}" train.py \\
    --root "${{DATA}}" \\
    --seed "${{SEED}}" \\
    --trainer ${{TRAINER}} \\
    --dataset-config-file {configs}/"${{DATASET}}.yaml" \\
    --config-file "configs/trainers/${{TRAINER}}/${{CFG}}.yaml" \\
    --output-dir "${{DIR}}" \\
{test}    DATASET.NUM_SHOTS "${{SHOTS}}" \\
    DATASET.SUBSAMPLE_CLASSES {classes} \\
    "$@"
"""
_TEST = """\
    --model-dir "${MODEL_DIR}" \\
    ${LOADEP:+--load-epoch "${LOADEP}"} \\
    --eval-only \\
"""


def script(method: Method, step: Step, folder: str, trainer: str, dataset_configs: str) -> str:
    """The text of scripts/<folder>/<step>.sh of a method that the fork's registry has as `trainer`.

    dataset_configs: where the fork has a file for each data set, see tree.py.
    """
    tests, source = bool(step.needs), "SOURCE" if step.needs == "xd_train" else "DATASET"
    arguments = step.arguments.replace("TARGET", "DATASET").split()
    purpose = (step.purpose if method.learns else step.untrained).format(method=trainer)
    text = _HEAD.format(purpose=purpose, folder=folder, script=step.script, arguments=step.arguments, n=len(arguments))
    if "SHOTS" not in arguments:
        text += f"SHOTS=${{SHOTS:-{SHOTS}}}  # training images per class\n"
    if source == "SOURCE":
        text += "SOURCE=${SOURCE:-imagenet}  # the data set that the model was trained on\n"
    if tests and method.learns:
        text += "LOADEP=${LOADEP:-}  # epoch of the model; empty: the last\n"
    text += f"TRAINER={trainer}\n\n"
    text += "".join(f"{name}=${i}\n" for i, name in enumerate(arguments, 1)) + f"shift {len(arguments)}\n\n"
    text += _config(method, step.protocol, source)
    text += f"DIR={_place(step, 'DATASET')}\n"
    if tests and method.learns:
        text += f"MODEL_DIR={_place(STEPS[step.needs], source)}\n"
        text += _UNTRAINED.format(folder=folder, needs=step.needs, trained_on=f"${{{source}}}")
    text += _DONE
    test = (_TEST if method.learns else "    --eval-only \\\n") if tests else ""
    return text + _RUN.format(test=test, classes=step.classes, configs=dataset_configs)


def _place(step, dataset):
    place = Place(step.folder, f"${{{dataset}}}", "${SHOTS}", "${TRAINER}", "${CFG}", "${SEED}")
    return f'"{place.below("output")}"'


def _config(method, protocol, source):
    """CFG, which the catalogue chooses by what the model is trained on and the shots."""
    cases = []
    for line in method.configs:
        if line.protocol in ("", protocol) and line.base == method.bases[0]:  # other bases: by CFG
            patterns = [f"{d}/{n}" for d in line.datasets.split() or "*" for n in line.shots.split() or "*"]
            cases.append((" | ".join(patterns), line.name))
            if patterns == ["*/*"]:
                break
    if len(cases) == 1:
        return f"CFG=${{CFG:-{cases[0][1]}}}\n"
    rows = "".join(f"        {pattern}) CFG={name} ;;\n" for pattern, name in cases)
    return f'if [ -z "${{CFG:-}}" ]; then\n    case ${{{source}}}/${{SHOTS}} in\n{rows}    esac\nfi\n'
