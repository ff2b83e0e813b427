"""Dead letters: which ones, what to do about them, and how they are replayed (delivery.md O6, O7)."""
