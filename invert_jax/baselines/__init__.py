"""Other people's ways of inverting, to compare with."""
