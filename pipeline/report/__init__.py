"""The Markdown report that compares the models in the workspace with main and with the pinned versions.

It only reads files and git history: it runs no model or stage and needs neither registry nor network.
"""
