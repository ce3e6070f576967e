"""Test functions with known gradients; ``PROBLEMS`` is the table."""

from problems import large, others, small
from problems.table import PROBLEMS, Problem

__all__ = ["PROBLEMS", "Problem", "large", "others", "small"]
