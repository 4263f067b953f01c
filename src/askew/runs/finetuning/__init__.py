"""Retrieval after fine-tuning: a short training on captioned images, with its learning rate chosen on others."""
