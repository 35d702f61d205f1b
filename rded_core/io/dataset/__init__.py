"""The distilled dataset as users train with it: files, images, label loader."""
