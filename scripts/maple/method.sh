# shellcheck shell=bash disable=SC2034
# MaPLe: what scripts/common.sh needs to know about the method.
TRAINER=MaPLe
TRAINS=yes

default_cfg() { # DATASET -> a file in configs/trainers/MaPLe, without .yaml
    case $1 in
        shapes) echo shapes ;;
        *) echo vit_b16_c2_ep5_batch4_2ctx ;;
    esac
}
