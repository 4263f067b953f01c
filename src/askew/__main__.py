"""`python -m askew`, and so `torchrun -m askew`."""

from askew.cli import main

if __name__ == "__main__":
    main()
