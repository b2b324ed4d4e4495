"""What every rank did, and when."""
