"""The commands of `python -m distrinews`."""
