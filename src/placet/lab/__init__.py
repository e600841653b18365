"""The attack lab; a later version fills this room."""
