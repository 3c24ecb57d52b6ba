"""The sections of the report, each rendered as Markdown from a `ModelComparison`.

`max_rows` limits the rows of tables and lists. A section without content is an empty string.
"""
