"""Recipes of detectors, one file each, for train_detector.py."""
