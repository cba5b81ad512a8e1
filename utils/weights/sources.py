"""SOURCES: the code that a file of weights may come from. A plain table, so that --help can list it at once."""

SOURCES = {  # name of --source -> what it is
    "official": "speedinghzl/CCNet, in-place ABN",
    "serge": "Serge-weihao/CCNet-Pure-Pytorch",
    "mmseg": "mmsegmentation's CCNet, or its v1c backbone",
    "mit": "MIT's ImageNet ResNet with the deep stem",
    "torchvision": "an ImageNet ResNet with one 7x7 in its stem",
    "van": "Visual Attention Network, alone or as a backbone",
    "jittor": "a Jittor port, named like any of these, with plain BatchNorm",
    "plain": "our own names, plain BatchNorm: nothing is changed",
}
