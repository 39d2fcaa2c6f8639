"""Default config: the keys and values of Dassl 0.6.3.

Some keys have no reader here (semi-supervised data sets, the trainers of other fields): config files written
for Dassl may set them, so they exist. A trainer's module adds its own node to `_C.TRAINER` when it is
imported.
"""

from yacs.config import CfgNode as CN

_C = CN()
_C.VERSION = 1
_C.OUTPUT_DIR = "./output"  # log, checkpoints and curves of the run go here
_C.RESUME = ""  # folder of an earlier run to continue from; empty: OUTPUT_DIR
_C.SEED = -1  # seed of all random generators; negative: not seeded
_C.USE_CUDA = True  # use a GPU if there is one
_C.VERBOSE = True  # print what is loaded and a summary of the data set

# ---------------------------------------------------------------- images
_C.INPUT = CN()
_C.INPUT.SIZE = (224, 224)  # height, width in pixels
_C.INPUT.INTERPOLATION = "bilinear"  # of resizing: bilinear | bicubic | nearest
_C.INPUT.TRANSFORMS = ()  # names out of dassl/data/transforms.py; their order does not matter
_C.INPUT.NO_TRANSFORM = False  # hand out the PIL images as they are
_C.INPUT.PIXEL_MEAN = [0.485, 0.456, 0.406]  # "normalize": mean of R, G, B in [0, 1] (ImageNet's)
_C.INPUT.PIXEL_STD = [0.229, 0.224, 0.225]  # "normalize": standard deviation of R, G, B (ImageNet's)
_C.INPUT.CROP_PADDING = 4  # "random_crop": zero padding on each side, pixels
_C.INPUT.RRCROP_SCALE = (0.08, 1.0)  # "random_resized_crop": range of the crop's share of the area
_C.INPUT.CUTOUT_N = 1  # "cutout": number of holes
_C.INPUT.CUTOUT_LEN = 16  # "cutout": side of a hole, pixels
_C.INPUT.GN_MEAN = 0.0  # "gaussian_noise": mean, on normalised pixels
_C.INPUT.GN_STD = 0.15  # "gaussian_noise": standard deviation, on normalised pixels
_C.INPUT.RANDAUGMENT_N = 2  # "randaugment*": operations per image
_C.INPUT.RANDAUGMENT_M = 10  # "randaugment": strength, 0 to 30
_C.INPUT.COLORJITTER_B = 0.4  # "colorjitter": largest relative change of brightness
_C.INPUT.COLORJITTER_C = 0.4  # "colorjitter": largest relative change of contrast
_C.INPUT.COLORJITTER_S = 0.4  # "colorjitter": largest relative change of saturation
_C.INPUT.COLORJITTER_H = 0.1  # "colorjitter": largest shift of hue, in turns
_C.INPUT.RGS_P = 0.2  # "randomgrayscale": probability
_C.INPUT.GB_P = 0.5  # "gaussian_blur": probability
_C.INPUT.GB_K = 21  # "gaussian_blur": kernel size in pixels, odd

# ---------------------------------------------------------------- data set
_C.DATASET = CN()
_C.DATASET.ROOT = ""  # folder that holds the data sets' folders
_C.DATASET.NAME = ""  # registered name of the data set
_C.DATASET.SOURCE_DOMAINS = ()  # training domains, for data sets that have several
_C.DATASET.TARGET_DOMAINS = ()  # test domains, for data sets that have several
_C.DATASET.NUM_LABELED = -1  # labelled images in all (semi-supervised learning)
_C.DATASET.NUM_SHOTS = -1  # training images per class; below 1: all
_C.DATASET.VAL_PERCENT = 0.1  # share of the data kept for validation (semi-supervised learning)
_C.DATASET.STL10_FOLD = -1  # fold of STL-10, 0 to 9; negative: none
_C.DATASET.CIFAR_C_TYPE = ""  # corruption of CIFAR-10/100-C
_C.DATASET.CIFAR_C_LEVEL = 1  # severity of that corruption, 1 to 5
_C.DATASET.ALL_AS_UNLABELED = False  # use labelled images as unlabelled ones too (semi-supervised learning)

# ---------------------------------------------------------------- loaders
_C.DATALOADER = CN()
_C.DATALOADER.NUM_WORKERS = 4  # loading processes per loader; 0: load in the main process
_C.DATALOADER.K_TRANSFORMS = 1  # random views of each training image
_C.DATALOADER.RETURN_IMG0 = False  # add the image without augmentation to the batch, as "img0"
_C.DATALOADER.TRAIN_X = CN()
_C.DATALOADER.TRAIN_X.SAMPLER = "RandomSampler"  # name out of dassl/data/samplers.py
_C.DATALOADER.TRAIN_X.BATCH_SIZE = 32  # images
_C.DATALOADER.TRAIN_X.N_DOMAIN = 0  # RandomDomainSampler: domains per batch; below 1: all
_C.DATALOADER.TRAIN_X.N_INS = 16  # RandomClassSampler: images per class in a batch
_C.DATALOADER.TRAIN_U = CN()
_C.DATALOADER.TRAIN_U.SAME_AS_X = True  # load unlabelled images by TRAIN_X's keys, not by these
_C.DATALOADER.TRAIN_U.SAMPLER = "RandomSampler"  # as TRAIN_X
_C.DATALOADER.TRAIN_U.BATCH_SIZE = 32  # as TRAIN_X
_C.DATALOADER.TRAIN_U.N_DOMAIN = 0  # as TRAIN_X
_C.DATALOADER.TRAIN_U.N_INS = 16  # as TRAIN_X
_C.DATALOADER.TEST = CN()
_C.DATALOADER.TEST.SAMPLER = "SequentialSampler"  # name out of dassl/data/samplers.py
_C.DATALOADER.TEST.BATCH_SIZE = 32  # images

# ---------------------------------------------------------------- model
_C.MODEL = CN()
_C.MODEL.INIT_WEIGHTS = ""  # checkpoint to start training from
_C.MODEL.BACKBONE = CN()
_C.MODEL.BACKBONE.NAME = ""  # which backbone; its meaning is the trainer's
_C.MODEL.BACKBONE.PRETRAINED = True  # start from pretrained weights (for backbones that can do without)
_C.MODEL.HEAD = CN()
_C.MODEL.HEAD.NAME = ""  # layers between backbone and classifier; no reader here
_C.MODEL.HEAD.HIDDEN_LAYERS = ()  # their widths
_C.MODEL.HEAD.ACTIVATION = "relu"  # their activation
_C.MODEL.HEAD.BN = True  # batch normalisation between them
_C.MODEL.HEAD.DROPOUT = 0.0  # dropout probability between them

# ---------------------------------------------------------------- optimiser
_C.OPTIM = CN()
_C.OPTIM.NAME = "adam"  # adam | amsgrad | sgd | rmsprop | radam | adamw
_C.OPTIM.LR = 0.0003  # learning rate at full height
_C.OPTIM.WEIGHT_DECAY = 5e-4  # weight decay factor
_C.OPTIM.MOMENTUM = 0.9  # of sgd and rmsprop
_C.OPTIM.SGD_DAMPNING = 0  # dampening of sgd's momentum (the key is spelt as in Dassl)
_C.OPTIM.SGD_NESTEROV = False  # Nesterov momentum in sgd
_C.OPTIM.RMSPROP_ALPHA = 0.99  # smoothing constant of rmsprop
_C.OPTIM.ADAM_BETA1 = 0.9  # decay of the first moment in the adam family
_C.OPTIM.ADAM_BETA2 = 0.999  # decay of the second moment in the adam family
_C.OPTIM.STAGED_LR = False  # train the children not in NEW_LAYERS at LR * BASE_LR_MULT
_C.OPTIM.NEW_LAYERS = ()  # names of the model's children trained at the full LR
_C.OPTIM.BASE_LR_MULT = 0.1  # factor on LR for the other children
_C.OPTIM.LR_SCHEDULER = "single_step"  # single_step | multi_step | cosine
_C.OPTIM.STEPSIZE = (-1,)  # epochs: single_step's period (below 1: MAX_EPOCH) or multi_step's milestones
_C.OPTIM.GAMMA = 0.1  # factor on the learning rate at each step
_C.OPTIM.MAX_EPOCH = 10  # epochs to train
_C.OPTIM.WARMUP_EPOCH = -1  # epochs of warm-up; below 1: none
_C.OPTIM.WARMUP_TYPE = "linear"  # linear | constant
_C.OPTIM.WARMUP_CONS_LR = 1e-5  # learning rate of the constant warm-up
_C.OPTIM.WARMUP_MIN_LR = 1e-5  # learning rate of the linear warm-up's first epoch
_C.OPTIM.WARMUP_RECOUNT = True  # start the schedule at its epoch 0 after the warm-up, not at WARMUP_EPOCH

# ---------------------------------------------------------------- training
_C.TRAIN = CN()
_C.TRAIN.CHECKPOINT_FREQ = 0  # epochs between checkpoints; below 1: only after the last epoch
_C.TRAIN.PRINT_FREQ = 10  # batches between progress lines
_C.TRAIN.COUNT_ITER = "train_x"  # which loader's length is an epoch (trainers with unlabelled data)

# ---------------------------------------------------------------- test
_C.TEST = CN()
_C.TEST.EVALUATOR = "Classification"  # registered name of the evaluator
_C.TEST.PER_CLASS_RESULT = False  # print the accuracy of every class
_C.TEST.COMPUTE_CMAT = False  # save the confusion matrix as OUTPUT_DIR/cmat.pt
_C.TEST.NO_TEST = False  # do not test after training
_C.TEST.SPLIT = "test"  # split of the final test: test | val
_C.TEST.FINAL_MODEL = "last_step"  # model of the final test: last_step | best_val (val after every epoch)

# ---------------------------------------------------------------- trainers
_C.TRAINER = CN()
_C.TRAINER.NAME = ""  # registered name of the trainer

# Of Dassl's trainers for domain adaptation, domain generalization and semi-supervised learning, which are not part of
# this runtime: the meaning of the keys is theirs
for _name, _keys in {
    "MCD": {"N_STEP_F": 4},
    "MME": {"LMDA": 0.1},
    "CDAC": {
        "CLASS_LR_MULTI": 10,
        "RAMPUP_COEF": 30,
        "RAMPUP_ITRS": 1000,
        "TOPK_MATCH": 5,
        "P_THRESH": 0.95,
        "STRONG_TRANSFORMS": (),
    },
    "SE": {"EMA_ALPHA": 0.999, "CONF_THRE": 0.95, "RAMPUP": 300},
    "M3SDA": {"LMDA": 0.5, "N_STEP_F": 4},
    "DAEL": {"WEIGHT_U": 0.5, "CONF_THRE": 0.95, "STRONG_TRANSFORMS": ()},
    "CROSSGRAD": {"EPS_F": 1.0, "EPS_D": 1.0, "ALPHA_F": 0.5, "ALPHA_D": 0.5},
    "DDAIG": {
        "G_ARCH": "",
        "LMDA": 0.3,
        "CLAMP": False,
        "CLAMP_MIN": -1.0,
        "CLAMP_MAX": 1.0,
        "WARMUP": 0,
        "ALPHA": 0.5,
    },
    "DAELDG": {"WEIGHT_U": 0.5, "CONF_THRE": 0.95, "STRONG_TRANSFORMS": ()},
    "DOMAINMIX": {"TYPE": "crossdomain", "ALPHA": 1.0, "BETA": 1.0},
    "ENTMIN": {"LMDA": 1e-3},
    "MEANTEACHER": {"WEIGHT_U": 1.0, "EMA_ALPHA": 0.999, "RAMPUP": 5},
    "MIXMATCH": {"WEIGHT_U": 100.0, "TEMP": 2.0, "MIXUP_BETA": 0.75, "RAMPUP": 20000},
    "FIXMATCH": {"WEIGHT_U": 1.0, "CONF_THRE": 0.95, "STRONG_TRANSFORMS": ()},
}.items():
    _C.TRAINER[_name] = CN(_keys)
