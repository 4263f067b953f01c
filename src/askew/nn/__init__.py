"""Small modules that own parameters or state: towers, temperatures, the momentum teacher, heads, a queue."""
