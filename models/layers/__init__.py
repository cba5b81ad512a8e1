"""The layers of the networks, and how they are made fast."""
