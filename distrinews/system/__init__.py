"""This machine: cores, console, signals, atomic files, manifests, the Hub."""
