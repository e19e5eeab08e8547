"""Azure Personalizer's wire over Bandstand: its paths, bodies, codes and errors, so that its clients change one URL."""
