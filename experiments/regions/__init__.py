"""Recipes of R-CNN and SPP-net, one file each, for train_rcnn.py."""
