"""Recipes: one file each, with a `RECIPE` and a docstring that has the command, the time it takes and the result."""
