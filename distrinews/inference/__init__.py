"""Answers from an exported model: no process group, no torch.distributed."""
