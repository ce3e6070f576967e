"""The code around J in a worker's process, and the messages between driver and workers."""
