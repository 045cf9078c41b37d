"""The papers' experiments: one file each, with an `EXPERIMENT` and a docstring that has claim, cost and result.

`compare.py NAME` runs one, `compare.py --list` shows them. A new one is a file like `shortcuts.py`.
"""
