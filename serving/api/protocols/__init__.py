"""The protocols of other model servers. Each module parses requests and renders responses of one of them."""
