# shellcheck shell=bash disable=SC2034
# ProGrad: what scripts/common.sh needs to know about the method.
TRAINER=ProGrad
TRAINS=yes

default_cfg() { # DATASET PROTOCOL SHOTS -> a file in configs/trainers/ProGrad, without .yaml
    case $2-$1-$3 in
        *-shapes-* | *-shapes_*) echo shapes ;;
        *-imagenet-* | few_shot-*-1) echo vit_b16_c16_ep50_batch32 ;;
        few_shot-*-[24]) echo vit_b16_c16_ep100_batch32 ;;
        few_shot-oxford_flowers-* | few_shot-dtd-* | few_shot-eurosat-*) echo vit_b16_c16_ep200_batch32_lambda08 ;;
        few_shot-*) echo vit_b16_c16_ep200_batch32 ;;
        *) echo vit_b16_c16_ep100_batch32 ;;
    esac
}
