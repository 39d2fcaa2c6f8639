# shellcheck shell=bash disable=SC2034
# CoCoOp: what scripts/common.sh needs to know about the method.
TRAINER=CoCoOp
TRAINS=yes

default_cfg() { # DATASET PROTOCOL SHOTS -> a file in configs/trainers/CoCoOp, without .yaml
    case $1 in
        shapes | shapes_*) echo shapes ;;
        *) echo vit_b16_c4_ep10_batch1_ctxv1 ;;
    esac
}
