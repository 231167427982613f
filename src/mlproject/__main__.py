"""`python -m mlproject`: the same as the console script `compressor`."""

from mlproject.cli import main

if __name__ == "__main__":
    main()
