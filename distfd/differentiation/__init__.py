"""Derivatives as plans over known values: pure functions, no I/O, no clock."""
