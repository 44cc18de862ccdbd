"""Files in the layouts that other people's code writes, of networks with a handful of numbers."""
