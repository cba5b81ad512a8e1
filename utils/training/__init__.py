"""The parts of a training run besides the network: optimizer, precision, log, checkpoints, signals, checks."""
