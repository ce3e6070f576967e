"""Code that every part of distfd shares: errors, points, records of evaluations, and texts that describe them."""
