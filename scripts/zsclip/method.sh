# shellcheck shell=bash disable=SC2034
# Zero-shot CLIP: what scripts/common.sh needs to know about the method.
TRAINER=ZeroshotCLIP
TRAINS=no

default_cfg() { # DATASET -> a file in configs/trainers/ZeroshotCLIP, without .yaml
    case $1 in
        shapes) echo shapes ;;
        *) echo vit_b16 ;;
    esac
}
