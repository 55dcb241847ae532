"""The `avatar` commands: they parse, call a stage and print."""
