"""Container runtimes and control planes: one module each, resolved by name, imported when asked for."""
