"""Commands that use a model on data: `search` and `embed`."""
