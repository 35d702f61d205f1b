"""A spec string becomes classes and items: folders, tars, Parquet files, torchvision sets, URLs."""
