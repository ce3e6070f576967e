"""The session that users hold, the loop that evaluates points, and the methods that ask for them."""
