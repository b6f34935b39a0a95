"""Who may watch and cancel: nobody gets in where they don't belong."""
