"""The pod lifecycle as a table you can read: start at :mod:`lifecycle.pod`, then :mod:`lifecycle.engine`.

What is public is what these modules name without an underscore. Nothing is imported here: every pod would pay for it.
"""

__version__ = "0.1.0"
