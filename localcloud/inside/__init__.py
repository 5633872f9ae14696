"""What runs inside the cloud's root file system, with its Python and its packages."""
