"""Pictures of real people as samples to learn from and to judge by."""
