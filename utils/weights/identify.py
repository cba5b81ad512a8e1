"""What the keys and shapes of converted weights tell about their network, so that nobody has to say it."""

from models.tables import CAFFE_BGR, IMAGENET_RGB, RESNET_BLOCKS, VAN_SIZES

VANS = {depths: name for name, (_, depths, _) in VAN_SIZES.items()}  # blocks in each stage -> van_size
RESNETS = {(depth > 18, blocks[2]): f"r{depth}" for depth, blocks in RESNET_BLOCKS.items()}  # bottleneck, in layer3
RESNETS.update({(True, 5): "r50", (True, 12): "r101"})  # a Jittor port, whose blocks are fewer


def van_blocks(arrays):
    """Blocks in each of the four stages of a VAN."""
    return tuple(len({key.split(".")[1] for key in arrays if key.startswith(f"block{n}.")}) for n in (1, 2, 3, 4))


def resnet_blocks(arrays):
    """(bottleneck?, blocks in layer3) of a ResNet."""
    blocks = len({key.split(".")[1] for key in arrays if key.startswith("layer3.")})
    return "layer1.0.conv3.weight" in arrays, blocks


def seen(arrays):
    """What the shapes alone tell of a network under our names, whoever wrote the file: its backbone ("van", "r18" ..),
    van_size and output_stride, or stem. {} of any other network."""
    if "patch_embed1.proj.weight" in arrays:
        size = VANS.get(van_blocks(arrays))
        told = {"backbone": "van", **({"van_size": size} if size else {})}
        if any(key.startswith("head.") for key in arrays):
            told["output_stride"] = "multi" if "squeeze.0.weight" in arrays else "8, 16 or 32"
        return told
    depth = RESNETS.get(resnet_blocks(arrays))
    if not depth or "conv1.weight" not in arrays:
        return {}
    first = arrays["conv1.weight"].shape[:1]
    return {"backbone": depth, "stem": "v1" if "conv2.weight" not in arrays else "v1c" if first == (32,) else "deep"}


def describe(arrays, notes):
    """What our keys tell: name of the model, its options, classes (None for a backbone), normalisation, remarks.
    `assumed`: names of what the file does not tell, where the usual value was taken."""
    found, source, remarks, assumed = notes["layout"], notes["source"], [], []
    classifier = arrays.get("head.bottleneck.3.weight")
    if classifier is not None and not classifier.ndim:
        raise ValueError("head.bottleneck.3.weight is one number")
    if found == "van":
        depths = van_blocks(arrays)
        if depths not in VANS:
            raise ValueError(f"a VAN of {depths} blocks; known are {', '.join(map(str, VANS))}")
        model, options = "van", {"van_size": VANS[depths]}
        if classifier is not None and "squeeze.0.weight" not in arrays:
            options["output_stride"] = 8
            assumed.append("output_stride")
    else:
        bottleneck, blocks = resnet_blocks(arrays)
        depth, options = RESNETS.get((bottleneck, blocks)), {}
        if not depth:
            raise ValueError(f"a ResNet with {blocks} blocks in layer3; ResNet-18, 50 and 101 have 2, 6 and 23")
        if blocks in (5, 12):
            remarks.append(f"{blocks} blocks in layer3: a Jittor port's backbone, which is no ResNet-{depth[1:]}")
        if found == "mmseg":
            model = f"ccnet_mmseg_{'r101' if depth == 'r101' else 'r50'}"
            options = {"depth": 18} if depth == "r18" else {}
        else:
            model = "ccnet" if depth == "r101" else f"ccnet_{depth}"
        if found == "serge":
            options["activation"] = "relu"
        if found == "torchvision":
            options["stem"] = "v1"
    if source == "official":
        remarks.append("read as in-place ABN, scales are |weight| + 1e-5; --source plain if it has plain BatchNorm")
    if source == "jittor" and found == "official":
        remarks.append("the Jittor port had no activation in its heads; the network here has, and needs fine-tuning")
    if source == "jittor" and found == "mmseg":
        remarks.append("the Jittor port dilates layer4 by 8, the network here by 4: expect other numbers than its own")
    if classifier is not None:
        assumed.append("recurrence")
    rgb = found in ("mmseg", "torchvision", "van")
    return {
        "model": model,
        "model_options": options,
        "num_classes": None if classifier is None else int(classifier.shape[0]),
        "recurrence": 2,
        "ignore_label": 255,
        "normalisation": IMAGENET_RGB if rgb else CAFFE_BGR,
        "remarks": remarks,
        "assumed": assumed,
    }
