"""Utilities that the library and its runners share; not public."""
