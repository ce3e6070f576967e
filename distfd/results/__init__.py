"""What a call gives back, and what it tells while it runs: results, evaluations, events."""
