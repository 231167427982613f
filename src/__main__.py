"""`python src <command>`: runs this checkout's code whatever is installed, which is how MLproject calls it."""

from mlproject.cli import main

if __name__ == "__main__":
    main()
