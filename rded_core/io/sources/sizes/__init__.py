"""Sizes of images in names: folders and files that hold the same images at several resolutions."""
