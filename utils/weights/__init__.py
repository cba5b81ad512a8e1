"""Checkpoints, and files of weights of other projects."""
