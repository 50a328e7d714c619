"""What is done in each state of the table: one module a phase. They know ports, not adapters, and not the engine."""
