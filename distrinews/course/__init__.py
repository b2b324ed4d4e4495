"""Labs and exercises, interview cards, and what chapters 02 to 04 share."""
