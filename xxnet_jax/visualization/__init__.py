"""Plots and pictures; matplotlib is imported when one is drawn."""
