"""Secrets that nobody may ever see: planted wherever one can be given, and looked for in everything that comes out."""
