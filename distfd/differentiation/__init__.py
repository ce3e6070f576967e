"""Methods that compute derivatives as pure functions of known values: no I/O, no clock."""
