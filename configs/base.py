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
        # (name, weight) of what is summed: "cross_entropy", "focal", "ohem", "boundary", "dice",
        # "generalized_dice", "tversky", "lovasz_softmax", "lovasz_hinge" (two classes)
        terms=(("cross_entropy", 1.0),),
        average="all",  # "all": over all pixels, ignored ones counting 0; "valid": labeled ones
        # one number per class, none, or "balanced": (1 - p) / p of each class, p being its share of
        # the training pixels (two classes: 1 for the background)
        class_weights=config_dict.FieldReference((), field_type=object),
        focal_gamma=2.0,  # exponent of "focal"
        ohem_threshold=0.7,  # "ohem" keeps pixels whose class has at most this probability
        ohem_min_kept=100_000,  # pixels per batch that it keeps at least
        boundary_weight=5.0,  # of pixels near a boundary, in "boundary"
        boundary_width=15,  # side of the square that makes that band, in pixels
        tversky_alpha=0.3,  # weight of false positives in "tversky"
        tversky_beta=0.7,  # weight of false negatives in "tversky"
    )
    config.curriculum = _section(
        # share of each axis's spectrum that the network sees of an image in the end, in (0, 1];
        # 1 for all of it; the smallest that "adaptive" may choose
        ratio=1.0,
        # "constant"; or from `start` to `ratio` over the run, up or down, by a "linear" or
        # "cosine" course or in levels ("step"); or "adaptive": the best one for the network
        schedule="constant",
        start=1.0,  # share at the first update, in (0, 1]; unused by "constant"
        stairs=4,  # levels of "step", start and end among them
        every=500,  # updates between choices of "adaptive", before the first of which it is `start`
        choices=16,  # ratios that "adaptive" tries each time, on one batch
        alpha=1.0,  # weight of the saliency of both bands, "adaptive" only
        beta=1.0,  # weight of the total variation of both bands, "adaptive" only
        band="square",  # shape of what is kept: "square", or "round", the disc inside of it
        evaluate="full",  # predict from "full" spectra, or from those of the "final" ratio
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
        ema_decay=0.0,  # share that averaged parameters keep per update; 0 for none, 0.999 is usual
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
        keep_best=1,  # checkpoints kept beside them, by mIoU; of two classes by the images' Dice
    )
    config.track = _section(
        tensorboard=False,  # whether RUN/tensorboard is written; needs segalias_jax[tensorboard]
        wandb="",  # project at Weights & Biases, whose package has to be there; "" for none
    )
    config.eval = _section(
        batch_size=1,  # images, or windows, at a time, over all devices; bounds the memory
        mode="whole",  # "whole" images, or "slide": windows, averaged where they overlap
        window=(),  # (height, width) of windows in pixels, "slide" only; () for data.crop
        stride=(),  # (down, right) from one window to the next; () for two thirds of the window
        resize=(),  # (long, short) side in pixels to predict at; () for the image's own size
        multiple=1,  # sides are rounded up to a multiple of this, in pixels
        scales=(1.0,),  # factors of that size, whose probabilities are averaged
        flip=False,  # average with the mirrored image's probabilities
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


def apply_ratio(config: config_dict.ConfigDict, arg: str) -> str:
    """Applies the frequency curriculum that a recipe argument such as "final_ratio=0.6" asks for.

    Args:
      config: recipe to change; its name is left as it is.
      arg: words separated by commas, of which "fixed_ratio=R" keeps the ratio R of the spectrum
        in all of the training, and "final_ratio=R" goes from 1 down to R at its end.

    Returns:
      The other words, joined by commas.

    Raises:
      InputError: both words, one of them twice, or a ratio outside (0, 1].
    """
    schedules = {"fixed_ratio": "constant", "final_ratio": "linear"}
    words = [word.strip() for word in arg.split(",") if word.strip()]
    found = [word for word in words if word.split("=")[0].strip() in schedules]
    if len(found) > 1:
        raise InputError(f"variants {arg!r} of recipe {config.name!r} exclude each other; drop one")
    for word in found:
        name, _, value = (part.strip() for part in word.partition("="))
        try:
            ratio = float(value)
        except ValueError:
            ratio = 0.0
        if not 0 < ratio <= 1:
            raise InputError(
                f"variant {word!r} of recipe {config.name!r} needs a number in (0, 1], "
                f"such as {name}=0.6"
            )
        config.curriculum.schedule = schedules[name]
        config.curriculum.ratio = ratio
    return ",".join(word for word in words if word not in found)


def apply_size(config: config_dict.ConfigDict, size: str) -> None:
    """Applies what the words "published" and "tiny" of a recipe argument mean.

    Args:
      config: recipe to change.
      size: "published": band, cutoff and gates of the published checkpoints; "tiny": a narrow
        network, small crops and 2000 updates, which two processor cores can train; "": nothing.
    """
    if size == "published":
        config.model.band = "reference"
        config.model.cutoff = 0.35
        config.model.gate = "corner"
    if size == "tiny":
        config.data.crop = (192, 192)
        config.model.encoder = "resnet18"
        config.model.width = 32
        config.model.channels = 48
        config.model.auxiliary_channels = 64
        config.loss.average = "valid"
        config.optimizer.name = "adamw"
        config.optimizer.learning_rate = 2e-3
        config.optimizer.weight_decay = 0.02
        config.optimizer.rate_multipliers = ()
        config.schedule.end_value = 0.0
        config.schedule.warmup_steps = 50
        config.train.steps = 2000
        config.train.batch_size = 8
        config.train.eval_every = 500
        config.train.log_every = 20


def _data() -> config_dict.ConfigDict:
    return _section(
        source="synthetic",  # "synthetic", "folders" (own), a set of docs/datasets.md, "tfds:NAME"
        root="",  # folder of the data set; unused by "synthetic"
        # Paths below root and the meaning of labels, "folders" only; {split} and {name} are
        # filled in, and * is anything.
        images="images/{split}/{name}.*",  # of an image
        labels="labels/{split}/{name}.*",  # of its label
        regions="",  # of its field of view, outside of which pixels are ignored; "" for none
        names="{split}.txt",  # of the list of names, or CSV of pairs; "" takes all images
        classes=(),  # names of the classes, by id
        colors=(),  # (red, green, blue, class) of labels that are colors; class 255 is ignored
        id_map=(),  # (stored value, class) where labels are no class ids; class 255 is ignored
        ignored=(),  # stored values besides 255 that are ignored
        threshold=config_dict.placeholder(int),  # gray value above which a mask is class 1
        exif=True,  # turn images as their EXIF orientation says; labels are never turned
        # an unusable sample: "stop" ends the run; "skip" takes the next image, without labels
        on_error="stop",
        max_skipped=10,  # unusable samples of a split above which "skip" ends the run too
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
        scale_jitter=0.0,  # largest share by which each side deviates from its aspect
        rotation=0.0,  # largest angle in degrees by which a crop is turned
        blur=(0.0, 0.0),  # smallest and largest sigma of a Gaussian blur in pixels
        noise=(0.0, 0.0),  # smallest and largest sigma of Gaussian noise, in units of 0..255
        median=0,  # side of a median filter in pixels, odd; 0 for none
    )


def _model() -> config_dict.ConfigDict:
    return _section(
        # decoder: "upernet", "fcn", "pspnet", "deeplabv3plus", "semantic_fpn" or "unet"
        name="upernet",
        # "resnet18", "resnet34", "resnet50", "resnet101" or "resnet152", or "convnext_tiny",
        # "convnext_small" or "convnext_base", or "double_conv" (that of U-Net)
        encoder="resnet50",
        # A key below is read by the encoders or decoders that it speaks of; set for others, it is
        # an error. None is the encoder's or the decoder's own default.
        variant="v1c",  # stem and shortcuts of ResNets: "v1b", "v1c" or "v1d"
        width=config_dict.placeholder(int),  # channels of stage 1; None: as published
        output_stride=32,  # image pixels per pixel of stage 4 of ResNets: 32, 16 or 8
        multi_grid=(),  # factors of the dilations in the blocks of a ResNet's stage 4; () for none
        contract_dilation=False,  # halve the dilation of the first block of dilated stages
        frozen_stages=-1,  # stages that are not trained, after the stem (0); -1 for none
        frozen_norm=False,  # normalize by the running statistics, and keep them, in training too
        drop_path=0.0,  # share of a ConvNeXt's blocks that an image skips in training, at the end
        # stages (1 is the finest) whose blocks compute their activations again for the gradient:
        # less memory, more time; () for none
        remat=(),
        # filter ahead of strides: "none", "daf", "flc", "blur3", "blur5", "blur7", "adaptive_blur"
        downsample="none",
        mixer="none",  # in the blocks of stages 2 to 4: "none" or "freqmix"
        cutoff=config_dict.placeholder(float),  # cycles/pixel; None: each operator's own Nyquist
        band="symmetric",  # bins kept: "symmetric", or "reference" as published
        gate="energy",  # channel gate of FreqMix: "energy", "magnitude" or "corner" (published)
        reduction=16,  # channels per hidden channel of FreqMix's gates
        # of the decoder; None: 128 for "upernet" and "semantic_fpn", 64 for "unet" (finest map),
        # 512 for all others
        channels=config_dict.placeholder(int),
        pool_scales=(1, 2, 3, 6),  # bins per side of the pyramid pooling: "upernet", "pspnet"
        dilations=(1, 12, 24, 36),  # of "deeplabv3plus", in pixels of the coarsest features
        low_level_channels=48,  # of the finest features in "deeplabv3plus"
        num_convs=2,  # convolutions in a row: "fcn"
        concat_input=True,  # join the encoder's features again behind them: "fcn"
        pyramid_channels=256,  # of the pyramid below the heads: "semantic_fpn"
        upsample="bilinear",  # of "unet": "zeros", "nearest", "bilinear" or "transpose"
        dropout=0.1,  # share of channels dropped ahead of the classifiers
        auxiliary=True,  # auxiliary head
        auxiliary_channels=256,  # of that head
        auxiliary_stage=3,  # stage of the encoder that it reads, from 1
        align_corners=False,  # of all bilinear resizing inside the model
        # folder of checkpoints.torch_convert, or of a run, to start from; "" for random parameters
        pretrained="",
    )


def _section(**keys: object) -> config_dict.ConfigDict:
    return config_dict.ConfigDict(keys)
