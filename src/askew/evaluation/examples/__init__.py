"""What a model does with single images and texts: the numbers behind the examples that a report shows."""
