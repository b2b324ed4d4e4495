"""Find what is wrong here, and the cure of an error."""
