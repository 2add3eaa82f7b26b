"""Worked examples, which are no part of the installed packages."""
