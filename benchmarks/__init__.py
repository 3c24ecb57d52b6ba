"""Measurements that anybody can repeat; the documents show what they write. No test depends on a time."""
