"""Archives as streams, both ways: tar, gzip, detection, and extraction that cannot leave its target."""
