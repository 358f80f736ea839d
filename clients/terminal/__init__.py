"""`thinkdial chat`: the terminal chat with a thinking dial."""
