"""What ties the package to others; imported by nobody who does not use them."""
