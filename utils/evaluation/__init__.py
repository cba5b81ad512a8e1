"""From a network and a dataset to scores and files."""
