# shellcheck shell=bash disable=SC2034
# MaPLe: what scripts/common.sh needs to know about the method.
TRAINER=MaPLe
TRAINS=yes

default_cfg() { # DATASET PROTOCOL SHOTS -> a file in configs/trainers/MaPLe, without .yaml
    case $2-$1 in
        *-shapes | *-shapes_*) echo shapes ;;
        xd-*) echo vit_b16_c2_ep5_batch4_2ctx_cross_datasets ;;
        few_shot-*) echo vit_b16_c2_ep50_batch4_2ctx_few_shot ;;
        *) echo vit_b16_c2_ep5_batch4_2ctx ;;
    esac
}
