"""A demo site: several hundred real, linked pages, a share of them behind challenges that really refuse.

Reading order: ``catalog`` (which pages there are), ``gate`` (who may pass), ``challenges`` and ``extras``
(what is shown), ``documents`` and ``render`` (where bodies come from), ``site`` (one request), ``__main__``.
"""
