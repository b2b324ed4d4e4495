"""Settings, from which the command line derives."""
