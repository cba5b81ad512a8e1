"""The layers of the networks, with their fast implementations."""
