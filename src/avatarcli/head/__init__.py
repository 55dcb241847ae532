"""The linear head model, its 52 expressions, and what is known of one fitted head."""
