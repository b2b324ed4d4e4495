"""Times that can be believed, and the experiments with them."""
