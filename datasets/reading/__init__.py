"""From files to arrays: decoding, pairing, worker processes, cache."""
