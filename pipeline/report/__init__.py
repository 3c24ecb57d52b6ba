"""The report of a change: what the pipeline left in the workspace, beside main and beside what is served.

It runs no model and no stage, and needs neither registry nor network.
"""
