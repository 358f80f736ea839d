"""The commands of `thinkdial eval`, one a module: `add` declares its options, `run` does the work."""
