"""The commands behind ``argoexec``: one module each, imported when it is called."""
