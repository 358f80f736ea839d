"""The commands of `thinkdial train`, one a file."""
