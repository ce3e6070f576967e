"""What every part of distfd shares: errors, points, records of evaluations, and words for them."""
