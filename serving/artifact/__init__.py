"""The artifact that is served: the bundle's format, the pin, and how the bundle is found or pulled."""
