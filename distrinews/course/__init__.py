"""Labs, exercises, interview cards: they need a checkout of the repository."""
