"""What J can be: a Python function, a stateful simulator, an external program."""
