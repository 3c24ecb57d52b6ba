"""Changes the served version without a restart.

`targets` say which version a model should have. The `planner` of one worker writes the `plan`, and the
`applier` of each worker loads, swaps and drops versions as planned. A `trial` compares two versions, and
`shadow` runs the second one.

Whatever fails, the version that is served stays. A version that must not be served is refused for good, until
SIGHUP or a restart; what may be better the next time, such as a registry that cannot be reached, is tried
again.
"""
