"""distfd: finite-difference derivatives of expensive black boxes, every evaluation a Ray task."""
