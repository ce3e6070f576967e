"""Whether a derivative can be trusted: step sweeps, and gradients held against differences."""
