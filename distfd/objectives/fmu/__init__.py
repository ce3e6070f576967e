"""J by a Functional Mock-up Unit (FMU): a simulation model that a modelling tool has exported, run by FMPy."""
