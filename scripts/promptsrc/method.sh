# shellcheck shell=bash disable=SC2034
# PromptSRC: what scripts/common.sh needs to know about the method.
TRAINER=PromptSRC
TRAINS=yes

default_cfg() { # DATASET PROTOCOL SHOTS -> a file in configs/trainers/PromptSRC, without .yaml
    case $2:$1 in
        *:shapes | *:shapes_*) echo shapes ;;
        few_shot:stanford_cars | few_shot:oxford_flowers | few_shot:fgvc_aircraft | few_shot:dtd | few_shot:eurosat)
            echo vit_b16_c2_ep50_batch4_4+4ctx_few_shot_late # the aggregate's mean is late
            ;;
        few_shot:*) echo vit_b16_c2_ep50_batch4_4+4ctx_few_shot ;;
        xd:*) echo vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets ;;
        *) echo vit_b16_c2_ep20_batch4_4+4ctx ;;
    esac
}
