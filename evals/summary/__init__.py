"""From stored replies to numbers: read as a stream, graded, summarised. Starts at `summarise.py`."""
