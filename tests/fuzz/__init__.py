"""Archives changed at random: a command (`python -m tests.fuzz --seconds 120`), and what it has found as tests."""
