# shellcheck shell=bash disable=SC2034
# TCP: what scripts/common.sh needs to know about the method.
TRAINER=TCP
TRAINS=yes

default_cfg() { # DATASET PROTOCOL SHOTS -> a file in configs/trainers/TCP, without .yaml
    case $1 in
        shapes | shapes_*) echo shapes ;;
        imagenet | sun397) echo vit_b16_ep25 ;;
        *) echo vit_b16_ep100_ctxv1 ;;
    esac
}
