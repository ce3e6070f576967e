"""J computed by an external program, from input files to outputs."""
