"""Rows, labels, tokens."""
