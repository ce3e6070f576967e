"""The identity of an objective: what it is made of, and a digest of that which is equal in every process."""
