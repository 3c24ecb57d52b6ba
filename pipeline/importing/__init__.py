"""How an imported network wants its pixels: what can be declared, and what labelled photos say about it."""
