"""The flags of train.py and evaluate.py."""
