"""What a picture's file consists of, found out before a decoder sees it.

Decoders read whatever a file holds: profiles, comments, thumbnails, further frames, any number of them. That
costs minutes and gigabytes for files of a few kilobytes. So each format has a module here that walks over the
pieces of a file within bounds, and keeps what the first frame is decoded from and nothing else. It also reads
what a decoder would allocate, which need not be what the file's header says.
"""
