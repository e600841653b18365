"""The witnessed log; a later version fills this room."""
