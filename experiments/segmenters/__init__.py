"""Recipes of segmenters, one file each."""
