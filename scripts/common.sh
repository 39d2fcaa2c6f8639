# shellcheck shell=bash
# What every scripts/<method>/*.sh does. Sourced by them, not run; each also has its method.sh beside it.
#
# Environment, all optional; a relative path is relative to the folder the script is called from:
#   DATA     folder that holds the data sets          (default: data in the checkout)
#   OUTPUT   folder for results                       (default: output in the checkout)
#   CFG      a file of configs/trainers/<Trainer>, without .yaml (default: the method's for data set and protocol)
#   SHOTS    training images per class                (default: 16; few_shot.sh takes its third argument instead)
#   SOURCE   xd_test.sh: what the model was trained on (default: imagenet)
#   LOADEP   epoch of the checkpoint to test          (default: the last one)
#   FORCE    1 deletes the run's folder and starts over
#   PYTHON   the interpreter                          (default: the checkout's .venv, otherwise python)
# reproduce.sh, which runs the scripts of one protocol and prints their table, also has
#   PROTOCOL base2new | xd | dg | few_shot            (default: base2new)
#   DATASETS the data sets, of xd and dg the targets  (default: the papers'; with SOURCE=shapes its own targets)
#   SEEDS                                             (default: 1 2 3)
#   SHOTS    of few_shot, several                     (default: 1 2 4 8 16)
#   REPORT   no leaves the table out
#
# Exit code: 0 done, or done before; 2 wrong arguments; otherwise train.py's own, or 1.

set -euo pipefail

ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
SCRIPT=scripts/$(basename "$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[1]}")" && pwd)")/$(basename -- "${BASH_SOURCE[1]}")
# shellcheck source=/dev/null
. "$ROOT/$(dirname "$SCRIPT")/method.sh"

# ---- arguments and environment -----------------------------------------------------------------------------

fail() { # EXIT_CODE SENTENCE
    printf 'error: %s\n' "$2" >&2
    exit "$1"
}

usage() { # NAMES
    printf 'usage: bash %s %s[KEY VALUE ...]\n' "$SCRIPT" "${1:+$1 }"
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

# Leave unless the arguments are one value for each of NAMES, then pairs; set the interpreter and OUTPUT.
check_arguments() { # NAMES [ARGUMENT ...]
    local names=$1 count
    count=$(wc -w <<<"$names")
    shift
    case ${1-} in
        -h | --help)
            usage "$names"
            exit 0
            ;;
    esac
    if [ $# -lt "$count" ] || [ $((($# - count) % 2)) -ne 0 ]; then
        usage "$names" >&2
        exit 2
    fi
    shift "$count"
    while [ $# -gt 0 ]; do # these two decide the folder of the run, so a pair must not contradict it
        case $1 in
            DATASET.NUM_SHOTS)
                fail 2 "set the shots with the variable SHOTS or few_shot.sh's third argument, not with $1"
                ;;
            DATASET.SUBSAMPLE_CLASSES) fail 2 "$SCRIPT decides on $1 itself; leave that pair out" ;;
        esac
        shift 2
    done

    if [ -z "${PYTHON:-}" ]; then
        PYTHON=python
        [ ! -x "$ROOT/.venv/bin/python" ] || PYTHON=$ROOT/.venv/bin/python
    fi
    command -v "$PYTHON" >/dev/null || fail 1 "no interpreter \"$PYTHON\"; run 'make venv' in $ROOT or set PYTHON"
    OUTPUT=$(absolute "${OUTPUT:-$ROOT/output}")
}

# Check what is needed for one run; set DATASET, SEED, SHOTS, CFG and DATA. MODEL_DATASET is what the model is of.
prepare() { # PROTOCOL DATASET SEED SHOTS MODEL_DATASET
    local protocol=$1
    DATASET=$2 SEED=$3 SHOTS=$4 MODEL_DATASET=$5
    need_number SEED "$SEED"
    need_number SHOTS "$SHOTS"
    [ -z "${LOADEP:-}" ] || need_number LOADEP "$LOADEP"
    need_config "data set" "$DATASET" configs/datasets
    need_config "data set" "$MODEL_DATASET" configs/datasets
    CFG=${CFG:-$(default_cfg "$MODEL_DATASET" "$protocol" "$SHOTS")}
    need_config "config" "$CFG" "configs/trainers/$TRAINER"
    [ -n "${DATA:-}" ] || mkdir -p "$ROOT/data" # so that Shapes, which is generated, has a place
    DATA=$(absolute "${DATA:-$ROOT/data}")
}

# ---- one run -----------------------------------------------------------------------------------------------

run_dir() { # PART DATASET, e.g. base2new/train_base shapes -> the folder of this run
    printf '%s\n' "$OUTPUT/$1/$2/shots_$SHOTS/$TRAINER/$CFG/seed$SEED"
}

metric() { # DIR KEY -> the number in DIR/metrics.json, nothing if there is none
    [ ! -f "$1/metrics.json" ] || sed -n "s/.*\"$2\": *\([-+.0-9eE]\{1,\}\).*/\1/p" "$1/metrics.json" | head -n 1
}

tested_model() { # DIR -> folder of the model that DIR/metrics.json is of, nothing if it does not say
    [ ! -f "$1/metrics.json" ] || sed -n 's/^ *"model_dir": *"\(.*\)",\{0,1\}$/\1/p' "$1/metrics.json" | head -n 1
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
    dir=$(run_dir "$1" "$DATASET")
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
    local dir model earlier tested classes=$2 part=$3 train_command
    dir=$(run_dir "$1" "$DATASET")
    model=$(run_dir "$part" "$MODEL_DATASET")
    train_command="bash $(dirname "$SCRIPT")/$4 $MODEL_DATASET $SEED"
    [ "$MODEL_DATASET" = "$DATASET" ] || train_command="$train_command (or set SOURCE to what the model was trained on)"
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
    earlier=$(tested_model "$dir")
    # compared from the data set's name on, so that results may be moved to another OUTPUT
    if [ -n "$earlier" ] && [ "${earlier##*/"$part"/}" != "${model##*/"$part"/}" ]; then
        fail 1 "$dir has the result of another model, $earlier: FORCE=1 replaces it by that of $model; \
to keep both, give this SOURCE an OUTPUT of its own"
    fi
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

# ---- the scripts, by name ----------------------------------------------------------------------------------

base2new_train() { # DATASET SEED [KEY VALUE ...]
    check_arguments "DATASET SEED" "$@"
    prepare base2new "$1" "$2" "${SHOTS:-16}" "$1"
    shift 2
    train_protocol base2new/train_base base "$@"
}

base2new_test() { # DATASET SEED [KEY VALUE ...]
    check_arguments "DATASET SEED" "$@"
    prepare base2new "$1" "$2" "${SHOTS:-16}" "$1"
    shift 2
    test_protocol base2new/test_new new base2new/train_base base2new_train.sh "$@"
}

xd_train() { # DATASET SEED [KEY VALUE ...]
    check_arguments "DATASET SEED" "$@"
    prepare xd "$1" "$2" "${SHOTS:-16}" "$1"
    shift 2
    train_protocol xd/train all "$@"
}

xd_test() { # TARGET SEED [KEY VALUE ...]
    check_arguments "TARGET SEED" "$@"
    prepare xd "$1" "$2" "${SHOTS:-16}" "${SOURCE:-imagenet}"
    shift 2
    test_protocol xd/test all xd/train xd_train.sh "$@"
}

few_shot() { # DATASET SEED SHOTS [KEY VALUE ...]
    check_arguments "DATASET SEED SHOTS" "$@"
    prepare few_shot "$1" "$2" "$3" "$1"
    shift 3
    train_protocol few_shot all "$@"
}

# ---- a whole protocol --------------------------------------------------------------------------------------

default_datasets() { # PROTOCOL SOURCE -> the data sets of the protocol's published tables; of xd and dg the targets
    local ten="caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101"
    case $1-$2 in
        xd-shapes) echo shapes_counts shapes_patterns ;;
        dg-shapes) echo shapes_sketch shapes_texture shapes_clutter shapes_dark ;;
        xd-*) echo "$ten" ;;
        dg-*) echo imagenetv2 imagenet_sketch imagenet_a imagenet_r ;;
        *) echo imagenet "$ten" ;;
    esac
}

list_runs() { # PROTOCOL -> one run per line: script, then its arguments; all of seed 1 first
    local seed dataset shots
    for seed in $SEEDS; do
        case $1 in xd | dg) echo "xd_train.sh $SOURCE $seed" ;; esac
        for dataset in $DATASETS; do
            case $1 in
                base2new)
                    echo "base2new_train.sh $dataset $seed"
                    echo "base2new_test.sh $dataset $seed"
                    ;;
                xd | dg) echo "xd_test.sh $dataset $seed" ;;
                few_shot) for shots in $SHOTS; do echo "few_shot.sh $dataset $seed $shots"; done ;;
            esac
        done
    done
}

# Every run of a protocol, one after the other; what is finished is skipped, so it goes on where it was stopped.
reproduce() { # [KEY VALUE ...]
    local protocol=${PROTOCOL:-base2new} value runs total number=0 script arguments
    check_arguments "" "$@"
    case $protocol in
        base2new | xd | dg | few_shot) ;;
        *) fail 2 "PROTOCOL must be base2new, xd, dg or few_shot, not \"$protocol\"" ;;
    esac
    export SOURCE=${SOURCE:-imagenet}
    DATASETS=${DATASETS:-$(default_datasets "$protocol" "$SOURCE")} SEEDS=${SEEDS:-1 2 3}
    [ "$protocol" != few_shot ] || SHOTS=${SHOTS:-1 2 4 8 16}
    for value in $DATASETS $SOURCE; do need_config "data set" "$value" configs/datasets; done
    for value in $SEEDS; do need_number SEEDS "$value"; done
    for value in ${SHOTS:-}; do need_number SHOTS "$value"; done

    runs=$(list_runs "$protocol")
    total=$(($(wc -l <<<"$runs")))
    while read -r script arguments; do
        number=$((number + 1))
        script=$(dirname "$SCRIPT")/$script
        printf '== %s, run %d of %d: %s %s\n' "$protocol" "$number" "$total" "$script" "$arguments"
        # shellcheck disable=SC2086 # several arguments
        bash "$ROOT/$script" $arguments "$@" </dev/null || stopped $? "run $number of $total ($script $arguments)"
    done <<<"$runs"
    [ "${REPORT:-}" = no ] || "$PYTHON" "$ROOT/tools/report.py" "$OUTPUT" --protocol "$protocol"
}

stopped() { # EXIT_CODE RUN
    printf 'stopped at %s with exit code %s; the same command goes on from there\n' "$2" "$1" >&2
    exit "$1"
}
