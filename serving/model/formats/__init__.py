"""Parsers for the structure of image files, which run before a decoder does.

Decoders read whatever a file contains: any number of profiles, comments, thumbnails and further frames. For a
file of a few kilobytes that can take minutes and gigabytes. Each format has a parser here that walks over the
elements of a file within bounds and keeps only what the first frame needs. It also reads the dimensions that
the decoder will allocate, which may differ from those in the file's header.
"""
