"""From numbers to words, tables, picture and page. Starts at `write.py`."""
