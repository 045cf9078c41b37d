"""Checks of whole runs, longer than a test."""
