"""`python -m inturn` is the command `inturn`.

Invariant: nothing happens when this is imported.
"""

from inturn.cli import main

if __name__ == "__main__":
    main()
