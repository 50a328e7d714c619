"""Fault injection: a plan names places and faults, and wraps the injected ports; nothing else knows of it."""

from lifecycle.faults.plan import Fault, Plan, parse

__all__ = ["Fault", "Plan", "parse"]
