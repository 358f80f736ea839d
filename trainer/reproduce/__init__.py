"""`make reproduce`: a model from nothing, served, measured and loaded, and one page of it. See `steps.py`."""
