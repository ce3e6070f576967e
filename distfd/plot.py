"""Pictures of results as matplotlib axes, which can then be changed, saved or put beside others."""

from distfd.reporting.plot import convergence, gradient, need_matplotlib, plot_sweep, step_sweep, timeline

__all__ = ["convergence", "gradient", "need_matplotlib", "plot_sweep", "step_sweep", "timeline"]
