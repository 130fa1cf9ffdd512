"""Every key that a recipe may set, with its default and unit.

A recipe starts from `get_config()` and assigns; a key that is not here is an error. Any key can be
changed on the command line too: `--config.train.batch_size=4`.
"""

from ml_collections import config_dict

from segalias_jax.errors import InputError


def get_config() -> config_dict.ConfigDict:
    """Returns all keys with their defaults, locked."""
    config = config_dict.ConfigDict()
    config.name = "base"  # name of the recipe, in reports
    config.seed = 0  # of parameters, order, augmentation and dropout
    config.data = _data()
    config.model = _model()
    config.loss = _section(
        auxiliary_weight=0.4,  # weight of the auxiliary head's loss
        average="all",  # "all": over all pixels, ignored ones counting 0; "valid": labeled ones
        class_weights=(),  # one number per class, or none
    )
    config.optimizer = _section(
        name="sgd",  # "sgd" or "adamw"
        learning_rate=0.01,  # per update, where the decay starts
        momentum=0.9,  # share of the old direction kept (AdamW: beta1)
        weight_decay=5e-4,  # of every parameter; in the gradient (sgd), or decoupled (adamw)
        clip_norm=0.0,  # norm that the gradient of all parameters is scaled down to; 0 for none
        # (substring of a parameter's path, factor of its rate); the first that occurs counts
        rate_multipliers=(
            ("decoder", 2.0),
            ("classifier", 2.0),
            ("auxiliary", 2.0),
            ("mixer", 2.0),
        ),
    )
    config.schedule = _section(
        name="poly",  # "poly", "cosine" or "constant"
        power=0.9,  # exponent of the decay, "poly" only
        end_value=1e-4,  # rate at the end, whatever the multiplier; unused by "constant"
        warmup_steps=200,  # updates; 0 for none
        warmup_ratio=0.1,  # share of the rate at the first update
    )
    config.train = _section(
        steps=80000,  # updates
        batch_size=8,  # images per update, over all devices
        eval_every=4000,  # updates between validations, each of which saves a checkpoint
        log_every=50,  # updates between lines of metrics.jsonl
        precision="float32",  # of the network: "float32" or "bfloat16"; parameters are float32
        # parts that a batch is computed in, one after the other, for less memory; gradients are
        # those of the whole batch, but batch normalization sees a part at a time
        accumulate=1,
        average=0.0,  # share that averaged parameters keep per update; 0 for none, 0.999 is usual
        # a loss or gradient that is no finite number: "stop" the run, or "skip" the update
        nonfinite="stop",
        nonfinite_limit=10,  # updates skipped in a row after which the run stops
        stall_seconds=600.0,  # after which a step that is not over is reported; 0 for never
    )
    config.mesh = _section(
        data=-1,  # devices that share a batch; -1 for all that are left
        fsdp=1,  # devices that share a batch and the arrays of parameters and optimizer
        spatial=1,  # devices that share the height of an image
    )
    config.checkpoint = _section(
        every=0,  # updates between checkpoints; 0 for those of validations only
        keep_last=2,  # latest checkpoints kept
        keep_best=1,  # checkpoints kept beside them, by mIoU
    )
    config.track = _section(
        tensorboard=False,  # whether RUN/tensorboard is written; needs segalias_jax[tensorboard]
        wandb="",  # project at Weights & Biases, whose package has to be there; "" for none
    )
    config.eval = _section(
        batch_size=1,  # images at a time, over all devices
        boundary="laplacian",  # "laplacian": as published; "exact": any neighbor differs
        ignore="reference",  # "reference": ignored pixels make boundaries; "exclude": they do not
        images=6,  # overlay pictures in the report
    )
    return config.lock()


def choose_variant(config: config_dict.ConfigDict, arg: str, *, sizes: tuple[str, ...]) -> str:
    """Applies a recipe argument such as "daf,freqmix,tiny" to the model.

    Args:
      config: recipe to change; gets `downsample`, `mixer` and a name that says the variant.
      arg: words separated by commas: "baseline" or any of "daf" and "freqmix" ("daf,freqmix"
        where none is given), and at most one of `sizes`.
      sizes: other words that the recipe knows.

    Returns:
      The word of `sizes` that was given, or "".

    Raises:
      InputError: unknown or contradicting words.
    """
    words = [word.strip() for word in arg.split(",") if word.strip()]
    choices = ("baseline", "daf", "freqmix", *sizes)
    for word in words:
        if word not in choices:
            raise InputError(
                f"variant {word!r} of recipe {config.name!r} does not exist; choose from "
                f"{', '.join(choices)}, joined by commas"
            )
    network = [word for word in choices[:3] if word in words] or ["daf", "freqmix"]
    size = [word for word in sizes if word in words]
    if len(size) > 1 or (len(network) > 1 and "baseline" in network):
        raise InputError(f"variants {arg!r} of recipe {config.name!r} exclude each other; drop one")
    config.model.downsample = "daf" if "daf" in network else "none"
    config.model.mixer = "freqmix" if "freqmix" in network else "none"
    config.name = f"{config.name}:{','.join(network + size)}"
    return "".join(size)


def _data() -> config_dict.ConfigDict:
    return _section(
        source="synthetic",  # "camvid", "cityscapes" or "synthetic"
        root="",  # folder of the data set; unused by "synthetic"
        train_split="train",  # trained on
        eval_split="val",  # scored
        resize=(),  # (long, short) side in pixels at ratio 1; () for the image's own size
        ratio_range=(0.5, 2.0),  # smallest and largest random factor of the size
        crop=(128, 128),  # (height, width) in pixels
        pad=True,  # fill up crops that an image does not cover; False: such a crop is an error
        cat_max_ratio=0.75,  # largest share of one class in a crop, in ten tries; 1 for any
        flip=0.5,  # probability of mirroring
        photometric=True,  # distort brightness, contrast, saturation and hue
        check=True,  # read every label before the first step
        workers=0,  # processes that prepare batches; 0 for threads only
        threads=4,  # reading threads
        num_train=1000,  # scenes, "synthetic" only
        num_eval=100,  # scenes, "synthetic" only
        image_size=(128, 128),  # (height, width) in pixels, "synthetic" only
    )


def _model() -> config_dict.ConfigDict:
    return _section(
        name="upernet",  # decoder
        encoder="resnet50",  # "resnet18", "resnet34", "resnet50" or "resnet101"
        width=64,  # channels of the first stage
        # filter ahead of strides: "none", "daf", "flc", "blur3", "blur5", "blur7", "adaptive_blur"
        downsample="none",
        mixer="none",  # in the blocks of stages 2 to 4: "none" or "freqmix"
        cutoff=config_dict.placeholder(float),  # cycles/pixel; None: each operator's own Nyquist
        band="symmetric",  # bins kept: "symmetric", or "reference" as published
        gate="energy",  # channel gate of FreqMix: "energy", "magnitude" or "corner" (published)
        reduction=16,  # channels per hidden channel of FreqMix's gates
        channels=128,  # of the decoder
        pool_scales=(1, 2, 3, 6),  # bins per side of the pyramid pooling
        dropout=0.1,  # share of channels dropped ahead of the classifiers
        auxiliary=True,  # auxiliary head on stage 3
        auxiliary_channels=256,  # of that head
        align_corners=False,  # of all resizing inside the model
        # folder of checkpoints.torch_convert, or of a run, to start from; "" for random parameters
        pretrained="",
    )


def _section(**keys: object) -> config_dict.ConfigDict:
    return config_dict.ConfigDict(keys)
