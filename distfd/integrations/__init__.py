"""distfd under other libraries' interfaces: SciPy, JAX, PyTorch, OpenMDAO, optimagic."""
