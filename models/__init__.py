"""MODELS: name -> builder, and `build_model`. Jittor is imported only when a model is built."""


def resnet_builder(**defaults):
    def build(num_classes, recurrence, **options):
        from models.ccnet import CCNet

        return CCNet(num_classes, recurrence, **{**defaults, **options})

    return build


def build_van(num_classes, recurrence, **options):
    from models.ccnet import VANCCNet

    return VANCCNet(num_classes, recurrence, **options)


def shallow_builder(**defaults):
    def build(num_classes, recurrence, **options):
        from models.shallow import ShallowCCNet

        return ShallowCCNet(num_classes, recurrence, **{**defaults, **options})

    return build


# Options of the networks that match the weights of mmsegmentation.
MMSEG = {"stem": "v1c", "contract_dilation": True, "ceil_pool": False, "activation": "relu", "aux_channels": 256}
MMSEG.update(align_corners=False)  # its configs of crop 769 have True

MODELS = {
    "ccnet": resnet_builder(depth=101),  # the official network: 71 287 911 parameters at 19 classes
    "ccnet_large": resnet_builder(depth=101),  # the same network, under its name in the Jittor scripts
    "ccnet_r50": resnet_builder(depth=50),
    "ccnet_r18": resnet_builder(depth=18),  # small enough to train on two CPU cores
    "ccnet_mmseg_r101": resnet_builder(depth=101, **MMSEG),
    "ccnet_mmseg_r50": resnet_builder(depth=50, **MMSEG),
    "ccnet_shallow": shallow_builder(),  # two convolutions, for scripts/recipes/long_range.sh
    "ccnet_shallow_non_local": shallow_builder(attention="non_local"),
    "van": build_van,  # van_size: van_tiny, van_small, .. (see tables.py); output_stride: "multi", 8, 16, 32
}


def build_model(name, num_classes=19, recurrence=2, frames=1, **options):
    """-> a network: normalised images (B, 3, H, W) -> [main logits], in training [main logits, auxiliary logits].
    `frames` > 1: of clips (B, frames * 3, H, W), see video.py."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; choose from {', '.join(sorted(MODELS))}")
    model = MODELS[name](num_classes, recurrence, **options)
    if frames == 1:
        return model
    from models.video import use_clips

    return use_clips(model, frames)
