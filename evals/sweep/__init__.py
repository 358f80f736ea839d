"""Draw the replies of a budget curve: what is asked, of whom, where a trace is cut. Starts at `run.py`."""
