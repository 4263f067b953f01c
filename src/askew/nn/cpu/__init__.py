"""The same mathematics in kernels that run faster on a CPU."""
