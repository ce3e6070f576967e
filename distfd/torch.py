"""A black box inside a PyTorch program: autograd gets distfd's derivative."""

from distfd.integrations.torch import differentiable

__all__ = ["differentiable"]
