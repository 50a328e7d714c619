"""The executor's image: what is in it, and what a cluster needs to use it. Not part of the package."""
