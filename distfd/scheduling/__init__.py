"""Which points go to which slot, and when: pure state, no I/O, no clock."""
