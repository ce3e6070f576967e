"""Optimisation: minimize and least_squares on waves of evaluations."""
