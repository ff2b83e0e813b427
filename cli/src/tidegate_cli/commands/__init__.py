"""The commands, one a file: their options, and a call of what does the work.

Everything heavy is imported inside the functions, so that ``tidegate --help`` answers at once.
"""
