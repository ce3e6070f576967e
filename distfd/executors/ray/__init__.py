"""Evaluations on a Ray cluster: one actor a slot."""
