"""One file per model family: how its config reads and how its checkpoint keys map."""
