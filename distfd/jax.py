"""A black box inside a JAX program: ``jax.grad``, ``jax.jacrev`` and ``jit`` work on it."""

from distfd.integrations.jax import differentiable

__all__ = ["differentiable"]
