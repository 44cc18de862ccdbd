"""Other ways of doing what the project does, to be measured beside it."""
