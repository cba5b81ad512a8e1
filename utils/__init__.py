"""Tools around the network. Importing this package imports nothing heavy: `--help` must be instant."""
