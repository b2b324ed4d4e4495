"""What is wrong with this machine; whose traceback is this."""
