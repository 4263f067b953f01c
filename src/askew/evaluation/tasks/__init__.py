"""Evaluation tasks. Each scores a model's features and texts, and calls a metric of metrics.py."""
