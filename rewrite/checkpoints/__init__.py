"""Reading and writing checkpoint files safely; one file a format. Nothing in a file is ever executed."""
