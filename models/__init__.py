"""MODELS: name -> builder. Listing the names imports nothing heavy; building imports Jittor."""


def ccnet_r18(num_classes, recurrence, **options):
    """Small enough to train on two CPU cores: dilated ResNet-18, stride 8, 128 channels in the attention."""
    from models.ccnet import CCNet

    return CCNet(num_classes, recurrence, **{"depth": 18, **options})


MODELS = {
    "ccnet_r18": ccnet_r18,
}


def build_model(name, num_classes=19, recurrence=2, **options):
    """A network that maps (B, 3, H, W) normalised pictures to [main logits, auxiliary logits when training]."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; choose from {', '.join(sorted(MODELS))}")
    return MODELS[name](num_classes, recurrence, **options)
