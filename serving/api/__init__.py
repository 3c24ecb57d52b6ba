"""The HTTP interface: what a request must be, who may ask, and how an answer looks."""
