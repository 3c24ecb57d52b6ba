"""How the server leaves the house."""
