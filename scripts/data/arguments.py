"""The flags that verify.py and pack.py share."""

from datasets import CHOICES
from utils.options import shared


def add_dataset(parser):
    add = parser.add_argument
    add("--data-dir", required=True, help="the dataset, as for train.py")
    text = f"{', '.join(CHOICES)} (default: auto, detected from --data-dir)"
    add("--dataset", choices=CHOICES, default="auto", metavar="NAME", help=text)
    add("--num-classes", type=shared.positive, help="default: those of the dataset")
    add("--ignore-label", type=int, help="label value to ignore (default: that of the dataset)")
    shared.add_channels(add)
    add("--workers", type=shared.whole, help="number of worker processes (default: the number of cores)")
