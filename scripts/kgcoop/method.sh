# shellcheck shell=bash disable=SC2034
# KgCoOp: what scripts/common.sh needs to know about the method.
TRAINER=KgCoOp
TRAINS=yes

default_cfg() { # DATASET PROTOCOL SHOTS -> a file in configs/trainers/KgCoOp, without .yaml
    case $1 in
        shapes | shapes_*) echo shapes ;;
        *) echo vit_b16_ep100_ctxv1 ;;
    esac
}
