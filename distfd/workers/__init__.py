"""What runs beside J in a worker's process, and what driver and workers say to each other."""
