"""This machine: cores, console, signals, files, the Hub."""
