"""What a process tells of itself: metrics made from events by declarations."""
