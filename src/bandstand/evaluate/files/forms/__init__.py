"""How other systems write decisions down: one reader a form, behind one interface."""
