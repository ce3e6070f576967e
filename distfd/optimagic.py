"""optimagic's parallel parts (numerical derivatives, multistart, parallel optimisers) on distfd's slots."""

from distfd.integrations.optimagic import batch_evaluator

__all__ = ["batch_evaluator"]
