"""The consumer runtime. Read ``service`` (the nouns), ``offsets`` (the state), ``runtime`` (the loop)."""
