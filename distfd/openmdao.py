"""A black box as a component of an OpenMDAO model, with partial derivatives by distfd."""

from distfd.integrations.openmdao import BlackBox

__all__ = ["BlackBox"]
