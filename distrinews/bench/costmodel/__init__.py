"""A model of a step: fitted to this machine, judged, extrapolated."""
