"""The embedded stack: a supervisor of child processes, and brokers that need no container engine."""
