"""What optimisations are made of: limits, what was seen, the journal of a long run, and how methods are asked."""
