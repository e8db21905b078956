"""Experiment runners: each writes its pictures and numbers into a work folder."""
