"""Answers from an exported model, without any ranks."""
