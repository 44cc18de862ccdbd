"""What `reproduce.py` measures: one file a table."""
