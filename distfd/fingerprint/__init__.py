"""The identity of an objective: its parts, and a digest of them that is equal in every process."""
