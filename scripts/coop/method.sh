# shellcheck shell=bash disable=SC2034
# CoOp: what scripts/common.sh needs to know about the method.
TRAINER=CoOp
TRAINS=yes

default_cfg() { # DATASET PROTOCOL SHOTS -> a file in configs/trainers/CoOp, without .yaml
    case $2-$1-$3 in
        *-shapes-* | *-shapes_*) echo shapes ;;
        few_shot-imagenet-* | few_shot-*-1) echo vit_b16_ep50 ;;
        few_shot-*-[24]) echo vit_b16_ep100 ;;
        few_shot-*) echo vit_b16 ;;
        *-imagenet-*) echo vit_b16_ep50_ctxv1 ;;
        *) echo vit_b16_ctxv1 ;;
    esac
}
