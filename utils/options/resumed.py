"""The options of a resumed run: which of them must be those of the run that it continues.

Those of NETWORK must not change; weights/network.py checks those of SETTLED; those of RECORDED are taken from the
checkpoint where no flag gives them; those of INCIDENTAL may change. Other changes are reported.
"""

NETWORK = ("recurrence", "frames", "drop_path", "num_classes", "optimizer", "ccl", "frozen_bn")
SETTLED = ("model", "van_size", "output_stride", "plain_stride", "stem")
RECORDED = ("data_dir", "scene_size", "channels", "value_range", "channel_mean", "channel_std", "frame_stride")
INCIDENTAL = "resume restore_from source snapshot_dir device gpu verbose last_step keep_last save_every_minutes".split()
INCIDENTAL += "overwrite eval_images num_workers cache start_iters".split()


def compare(now, then, source):
    """Options of this run and of the run it resumes: an error if the network differs, lines for the other options."""
    differ = {key: (then[key], now[key]) for key in now if key in then and plain(then[key]) != plain(now[key])}
    for key in NETWORK:
        if key in differ and not (key in ("recurrence", "frames", "drop_path") and now[key] is None):
            old, new = differ[key]
            raise ValueError(
                f"{source} is of a run with --{key.replace('_', '-')} {old}, this one has {new}: it cannot be resumed"
            )
    return [
        f"--{key.replace('_', '-')} was {old} in the run that is resumed, now {new}"
        for key, (old, new) in differ.items()
        if key not in (*NETWORK, *SETTLED, *INCIDENTAL) and not (new is None and key in RECORDED)
    ]


def plain(value):
    """A value as JSON returns it."""
    return list(value) if isinstance(value, tuple) else value
