"""From bytes on a disk to arrays, by worker processes."""
