"""What watches a run and changes nothing: progress displays, the log, counts."""
