# shellcheck shell=bash disable=SC2034
# CoOp: what scripts/common.sh needs to know about the method.
TRAINER=CoOp
TRAINS=yes

default_cfg() { # DATASET -> a file in configs/trainers/CoOp, without .yaml
    case $1 in
        shapes) echo shapes ;;
        imagenet) echo vit_b16_ep50_ctxv1 ;;
        *) echo vit_b16_ctxv1 ;;
    esac
}
