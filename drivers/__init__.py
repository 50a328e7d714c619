"""Storage drivers: one module per store, resolved by name, imported when a template needs it."""
