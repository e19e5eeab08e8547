"""Results as one HTML file that opens anywhere, offline too: tables, figures and the script that draws them."""
