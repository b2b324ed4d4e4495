"""This machine and its disk: cores, console, signals, files, the Hub."""
