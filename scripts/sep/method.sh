# shellcheck shell=bash disable=SC2034
# SEP: what scripts/common.sh needs to know about the method.
TRAINER=SEP
TRAINS=yes

default_cfg() { # DATASET -> a file in configs/trainers/SEP, without .yaml
    case $1 in
        shapes) echo shapes ;;
        imagenet | sun397) echo vit_b16_ep10_batch128 ;;
        *) echo vit_b16_ep50_batch32 ;;
    esac
}
