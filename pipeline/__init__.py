"""The offline half: data and params in, a registered and pinned bundle out.

Verbs are DVC stages and commands, nouns are what they share.
"""
