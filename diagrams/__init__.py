"""Pictures of a lifecycle, drawn from the table that runs it, and of the way one pod took, from its journal.

Each renderer is a function ``render(table, journal=None) -> str``: ``mermaid``, ``dot`` and ``svg``. The same
table and journal give the same text, so that what is committed can be compared with what the table says now.
"""
