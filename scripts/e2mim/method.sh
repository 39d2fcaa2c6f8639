# shellcheck shell=bash disable=SC2034
# E2MIM: what scripts/common.sh needs to know about the method.
TRAINER=E2MIM
TRAINS=yes

default_cfg() { # DATASET PROTOCOL SHOTS -> a file in configs/trainers/E2MIM, without .yaml
    case $2-$1 in
        *-shapes | *-shapes_*) echo shapes ;;
        xd-*) echo vit_b16_ep3_batch32 ;;
        *-imagenet | *-sun397) echo vit_b16_ep10_batch128 ;;
        *) echo vit_b16_ep50_batch32 ;;
    esac
}
