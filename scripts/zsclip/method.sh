# shellcheck shell=bash disable=SC2034
# Zero-shot CLIP: what scripts/common.sh needs to know about the method.
TRAINER=ZeroshotCLIP
TRAINS=no

default_cfg() { # DATASET PROTOCOL SHOTS -> a file in configs/trainers/ZeroshotCLIP, without .yaml
    case $1 in
        shapes | shapes_*) echo shapes ;;
        *) echo vit_b16 ;;
    esac
}
