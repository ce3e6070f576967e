"""Stores keep values from one call or process to the next: in memory, or in an SQLite file."""
