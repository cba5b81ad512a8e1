"""MODELS: name -> builder. Listing the names imports nothing heavy; building imports Jittor."""


def on_resnet(**defaults):
    def build(num_classes, recurrence, **options):
        from models.ccnet import CCNet

        return CCNet(num_classes, recurrence, **{**defaults, **options})

    return build


def on_van(num_classes, recurrence, **options):
    from models.ccnet import VANCCNet

    return VANCCNet(num_classes, recurrence, **options)


# What mmsegmentation's weights expect; the names are the official ones.
MMSEG = {"stem": "v1c", "contract_dilation": True, "ceil_pool": False, "activation": "relu", "aux_channels": 256}

MODELS = {
    "ccnet": on_resnet(depth=101),  # the official network: 71 287 911 parameters at 19 classes
    "ccnet_large": on_resnet(depth=101),  # the same; the name that the Jittor scripts use
    "ccnet_r50": on_resnet(depth=50),
    "ccnet_r18": on_resnet(depth=18),  # small enough to train on two CPU cores: 128 channels in the attention
    "ccnet_mmseg_r101": on_resnet(depth=101, **MMSEG),
    "ccnet_mmseg_r50": on_resnet(depth=50, **MMSEG),
    "van": on_van,  # van_size= van_tiny van_small van_base van_large, van_b0 .. van_b6; output_stride= "multi" 8 16 32
}


def build_model(name, num_classes=19, recurrence=2, **options):
    """A network that maps (B, 3, H, W) normalised pictures to [main logits, auxiliary logits when training]."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; choose from {', '.join(sorted(MODELS))}")
    return MODELS[name](num_classes, recurrence, **options)
