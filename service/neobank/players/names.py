"""The former place of `neobank.names`, which revision 0003 still imports."""

from neobank.names import key

__all__ = ["key"]
