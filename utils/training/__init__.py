"""What a training run is made of beside the network."""
