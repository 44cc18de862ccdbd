"""Pickles, interpreted over a closed table of constructors: nothing is imported, called or compiled."""
