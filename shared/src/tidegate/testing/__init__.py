"""Test tools that are shipped: a clock that tests move, and a broker in memory (verified by contract)."""
