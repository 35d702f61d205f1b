"""Bytes on disk or at a URL: atomic writes, retries, caches; knows no run and no dataset."""
