"""Times that can be believed, and experiments with them."""
