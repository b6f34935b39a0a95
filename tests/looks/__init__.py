"""How bars look: in frameworks, in the admin, in any place of a page."""
