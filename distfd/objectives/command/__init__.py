"""J computed by an external program: input files are written, the program runs, outputs are read."""
