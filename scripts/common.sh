# shellcheck shell=bash
# What every scripts/<method>/*.sh does. Sourced by them, not run; each also has its method.sh beside it.
#
# Environment, all optional; a relative path is relative to the folder the script is called from:
#   DATA     folder that holds the data sets          (default: data in the checkout)
#   OUTPUT   folder for results                       (default: output in the checkout)
#   CFG      a file of configs/trainers/<Trainer>, without .yaml (default: the method's choice for the data set)
#   SHOTS    training images per class                (default: 16)
#   LOADEP   epoch of the checkpoint to test          (default: the last one)
#   FORCE    1 deletes the run's folder and starts over
#   PYTHON   the interpreter                          (default: the checkout's .venv, otherwise python)
#
# Exit code: 0 done, or done before; 2 wrong arguments; otherwise train.py's own, or 1.

set -euo pipefail

ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
SCRIPT=scripts/$(basename "$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[1]}")" && pwd)")/$(basename -- "${BASH_SOURCE[1]}")
# shellcheck source=/dev/null
. "$ROOT/$(dirname "$SCRIPT")/method.sh"

fail() { # EXIT_CODE SENTENCE
    printf 'error: %s\n' "$2" >&2
    exit "$1"
}

usage() {
    printf 'usage: bash %s DATASET SEED [KEY VALUE ...]\n' "$SCRIPT"
}

absolute() { # PATH -> PATH, absolute; the folder need not exist
    case $1 in
        /*) printf '%s\n' "$1" ;;
        '~' | '~/'*) printf '%s\n' "$HOME${1#'~'}" ;; # quoted by the caller, so not expanded by the shell
        *) printf '%s\n' "$PWD/$1" ;;
    esac
}

need_number() { # NAME VALUE
    case $2 in
        '' | *[!0-9]*) fail 2 "$1 must be a whole number, not \"$2\"" ;;
    esac
}

need_config() { # WHAT NAME FOLDER: leave unless FOLDER/NAME.yaml exists
    [ -f "$ROOT/$3/$2.yaml" ] && return
    "$PYTHON" - "$1" "$2" "$ROOT/$3" "$3" <<'PY' || true
import difflib, pathlib, sys

what, name, folder, shown = sys.argv[1:]
known = sorted(path.stem for path in pathlib.Path(folder).glob("*.yaml"))
near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
hint = f"nearest: {', '.join(near)}; " if near else ""
print(f'error: no {what} "{name}" in {shown}; {hint}available: {", ".join(known) or "none"}', file=sys.stderr)
PY
    exit 2
}

# Check the arguments and the environment; set DATASET, SEED and every variable listed above.
prepare() { # DATASET SEED [KEY VALUE ...]
    case ${1-} in
        -h | --help)
            usage
            exit 0
            ;;
    esac
    if [ $# -lt 2 ] || [ $(($# % 2)) -ne 0 ]; then
        usage >&2
        exit 2
    fi
    DATASET=$1 SEED=$2
    shift 2
    while [ $# -gt 0 ]; do # these two decide the folder of the run, so a pair must not contradict it
        case $1 in
            DATASET.NUM_SHOTS) fail 2 "set the shots with the environment variable SHOTS, not with $1" ;;
            DATASET.SUBSAMPLE_CLASSES) fail 2 "$SCRIPT decides on $1 itself; leave that pair out" ;;
        esac
        shift 2
    done

    if [ -z "${PYTHON:-}" ]; then
        PYTHON=python
        [ ! -x "$ROOT/.venv/bin/python" ] || PYTHON=$ROOT/.venv/bin/python
    fi
    command -v "$PYTHON" >/dev/null || fail 1 "no interpreter \"$PYTHON\"; run 'make venv' in $ROOT or set PYTHON"

    SHOTS=${SHOTS:-16}
    need_number SEED "$SEED"
    need_number SHOTS "$SHOTS"
    [ -z "${LOADEP:-}" ] || need_number LOADEP "$LOADEP"
    need_config "data set" "$DATASET" configs/datasets
    CFG=${CFG:-$(default_cfg "$DATASET")}
    need_config "config" "$CFG" "configs/trainers/$TRAINER"
    [ -n "${DATA:-}" ] || mkdir -p "$ROOT/data" # so that Shapes, which is generated, has a place
    DATA=$(absolute "${DATA:-$ROOT/data}")
    OUTPUT=$(absolute "${OUTPUT:-$ROOT/output}")
}

run_dir() { # PART, e.g. base2new/train_base -> the folder of this run
    printf '%s\n' "$OUTPUT/$1/$DATASET/shots_$SHOTS/$TRAINER/$CFG/seed$SEED"
}

metric() { # DIR KEY -> the number in DIR/metrics.json, nothing if there is none
    [ ! -f "$1/metrics.json" ] || sed -n "s/.*\"$2\": *\([-+.0-9eE]\{1,\}\).*/\1/p" "$1/metrics.json" | head -n 1
}

last_epoch() { # DIR -> the newest checkpoint's epoch, nothing if there is none
    local file epoch newest=
    for file in "$1"/prompt_learner/model.pth.tar-*; do
        epoch=${file##*-}
        case $epoch in '' | *[!0-9]*) continue ;; esac
        if [ "$epoch" -gt "${newest:-0}" ]; then newest=$epoch; fi
    done
    printf '%s\n' "$newest"
}

delete_if_forced() { # DIR
    [ "${FORCE:-}" != 1 ] || rm -rf -- "$1"
}

skip_if_finished() { # DIR
    local accuracy
    accuracy=$(metric "$1" accuracy)
    if [ -n "$accuracy" ]; then
        printf 'finished already, accuracy %s%%: %s (FORCE=1 starts over)\n' "$(LC_ALL=C printf %.2f "$accuracy")" "$1"
        exit 0
    fi
}

# Become train.py, so that its exit code and Ctrl-C are the script's.
run() { # DIR CLASSES [option of train.py ...] [KEY VALUE ...]
    local dir=$1 classes=$2
    shift 2
    exec "$PYTHON" "$ROOT/train.py" \
        --root "$DATA" \
        --seed "$SEED" \
        --trainer "$TRAINER" \
        --dataset-config-file "$ROOT/configs/datasets/$DATASET.yaml" \
        --config-file "$ROOT/configs/trainers/$TRAINER/$CFG.yaml" \
        --output-dir "$dir" \
        "$@" \
        DATASET.NUM_SHOTS "$SHOTS" \
        DATASET.SUBSAMPLE_CLASSES "$classes"
}

# Train on CLASSES and test on them; a method without training is only tested.
train_protocol() { # PART CLASSES [KEY VALUE ...]
    local dir classes=$2 epoch
    dir=$(run_dir "$1")
    shift 2
    delete_if_forced "$dir"
    skip_if_finished "$dir"
    if [ "$TRAINS" = no ]; then
        printf 'testing (%s has nothing to train): %s\n' "$TRAINER" "$dir"
        run "$dir" "$classes" --eval-only "$@"
    fi
    epoch=$(last_epoch "$dir")
    if [ -n "$epoch" ]; then
        printf 'resuming after epoch %s: %s\n' "$epoch" "$dir"
    else
        printf 'training: %s\n' "$dir"
    fi
    run "$dir" "$classes" "$@"
}

# Test on CLASSES the model that `bash scripts/<method>/TRAIN_SCRIPT` left under MODEL_PART.
test_protocol() { # PART CLASSES MODEL_PART TRAIN_SCRIPT [KEY VALUE ...]
    local dir model classes=$2 train_command tested
    dir=$(run_dir "$1")
    model=$(run_dir "$3")
    train_command="bash $(dirname "$SCRIPT")/$4 $DATASET $SEED"
    shift 4
    if [ "$TRAINS" = no ]; then
        delete_if_forced "$dir"
        skip_if_finished "$dir"
        printf 'testing: %s\n' "$dir"
        run "$dir" "$classes" --eval-only "$@"
    fi

    if [ -z "$(last_epoch "$model")" ]; then
        fail 1 "no trained model in $model; run first, with the same settings: $train_command"
    fi
    if [ -z "${LOADEP:-}" ] && [ -z "$(metric "$model" accuracy)" ]; then
        fail 1 "training in $model stopped after epoch $(last_epoch "$model"); finish it first: $train_command"
    fi
    delete_if_forced "$dir"
    tested=$(metric "$dir" epoch)
    if [ -n "$tested" ] && [ -n "${LOADEP:-}" ] && [ "$tested" != "$LOADEP" ]; then
        printf 'the earlier result is of epoch %s, so it is replaced\n' "$tested"
    elif [ "$model/metrics.json" -nt "$dir/metrics.json" ]; then
        [ -z "$tested" ] || printf 'the model is newer than the earlier result, so it is replaced\n'
    else
        skip_if_finished "$dir"
    fi
    printf 'testing: %s\n' "$dir"
    if [ -n "${LOADEP:-}" ]; then
        set -- --load-epoch "$LOADEP" "$@"
    fi
    run "$dir" "$classes" --eval-only --model-dir "$model" "$@"
}

base2new_train() { # DATASET SEED [KEY VALUE ...]
    prepare "$@"
    shift 2
    train_protocol base2new/train_base base "$@"
}

base2new_test() { # DATASET SEED [KEY VALUE ...]
    prepare "$@"
    shift 2
    test_protocol base2new/test_new new base2new/train_base base2new_train.sh "$@"
}
