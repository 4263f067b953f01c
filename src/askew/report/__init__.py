"""How results look: tables as plain data, and their renderers."""
