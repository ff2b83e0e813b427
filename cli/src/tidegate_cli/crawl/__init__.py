"""A crawl from its input to its report. Read ``inputs``, ``progress``, ``report``, then ``session``."""
